"""Hosts that share nothing but programs: namespaces of one Linux machine, made by root.

Each has a network, processes and shared memory of its own, and its own files below two folders:
where commands run, and Ray's. However a test ends, Linux ends with its first process all in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.support.timed import ROOT

NEEDED = ("ip", "nsenter", "unshare", "setpriv", "mount")
KINDS = ("--net", "--mount", "--uts", "--ipc", "--pid", "--mount-proc", "--propagation=private")
FIRST = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"
NETWORK = "10.77.1"
PORT = 6379


@dataclass
class SeparateHost:
    """A host by its first process: `site` is where commands run in it, `short` is Ray's folder."""

    name: str
    address: str
    process: subprocess.Popen[bytes]
    first: int
    site: Path
    short: Path

    def seen(self, *parts: str) -> Path:
        """A file of its site, as seen from outside."""
        return Path(f"/proc/{self.first}/root{self.site}", *parts)

    def cached(self, *parts: str) -> Path:
        """A file of its cache, likewise."""
        return Path(f"/proc/{self.first}/root{self.short}", ".cache", "cmir", *parts)

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in it."""
        enter = ["nsenter", "-t", str(self.first), "-n", "-m", "-u", "-i", "-p", "--"]
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "XDG_"))
        }
        own = {"HOME": str(self.short), "TMPDIR": str(self.short), "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [*enter, "env", "-C", str(self.site), *words],
            env={**kept, **own, "RAY_USAGE_STATS_ENABLED": "0", **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=250,
        )

    def ray(self, *words: str) -> None:
        """Starts a node of Ray in it, as the documentation says."""
        program = str(Path(sys.executable).with_name("ray"))
        own = [f"--node-ip-address={self.address}", f"--object-store-memory={80 << 20}"]
        done = self.run(program, "start", *own, "--disable-usage-stats", *words)
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def separate_hosts(folder: Path, short: Path) -> Iterator[tuple[SeparateHost, SeparateHost]]:
    """Two hosts that reach each other; skips where they cannot be made."""
    if os.geteuid() != 0 or not all(map(shutil.which, NEEDED)):
        pytest.skip(f"needs root and {', '.join(NEEDED)}")
    started: list[subprocess.Popen[bytes]] = []
    try:
        hosts = [_made(name, place + 1, folder, short, started) for place, name in enumerate("ab")]
        _joined(hosts)
        yield hosts[0], hosts[1]
    finally:
        for process in started:
            process.kill()
            process.wait()


def _made(
    name: str, number: int, folder: Path, short: Path, started: list[subprocess.Popen[bytes]]
) -> SeparateHost:
    words = ["setpriv", "--pdeathsig=KILL", "--", "unshare", *KINDS, "--fork", "--kill-child=KILL"]
    process = subprocess.Popen(
        [*words, "--", sys.executable, "-c", FIRST], stdin=subprocess.DEVNULL
    )
    started.append(process)
    host = SeparateHost(name, f"{NETWORK}.{number}", process, _child(process.pid), folder, short)
    lines = [f"mount -t tmpfs tmpfs {place}" for place in (folder, short, "/dev/shm")]
    _checked(_entered(host, "sh", "-ec", "\n".join([*lines, f"hostname host-{name}"])))
    return host


def _joined(hosts: Sequence[SeparateHost]) -> None:
    """One cable between the two."""
    ends = [["name", "eth0", "netns", str(host.first)] for host in hosts]
    _checked(["ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1]])
    for host, other in zip(hosts, reversed(hosts), strict=True):
        for words in (
            "link set lo up",
            f"addr add {host.address}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {other.address}",
        ):
            _checked(_entered(host, "ip", *words.split()))


def _entered(host: SeparateHost, *words: str) -> list[str]:
    return ["nsenter", "-t", str(host.first), "-n", "-m", "-u", "-p", "--", *words]


def _child(number: int) -> int:
    children = Path(f"/proc/{number}/task/{number}/children")
    for _ in range(500):
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.02)
    pytest.skip("namespaces cannot be made here")


def _checked(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"hosts cannot be made here: {' '.join(words)}: {done.stderr.strip()}")
