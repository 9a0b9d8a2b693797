"""Hosts that share nothing but programs: namespaces of one Linux machine, made by root.

Each has a network, processes and shared memory of its own, and its own files below two folders:
where commands run, and Ray's. However the process that made it ends, Linux ends all in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.timed import ROOT

NEEDED = ("ip", "nsenter", "unshare", "setpriv", "mount")
KINDS = ("--net", "--mount", "--uts", "--ipc", "--pid", "--mount-proc", "--propagation=private")
FIRST = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"
HUB = str(Path(__file__).with_name("slow_hub.py"))
NETWORK = "10.77.1"
PORT = 6379


class HostsError(RuntimeError):
    """Hosts cannot be made here."""


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
        return subprocess.run(
            self._entering(words),
            env=self._environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=250,
        )

    def start(self, log: Path, *words: str, **env: str) -> subprocess.Popen[bytes]:
        """Starts a command in it whose output goes to a file."""
        with log.open("wb") as output:
            return subprocess.Popen(
                self._entering(words),
                env=self._environment(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def ray(self, *words: str, **env: str) -> None:
        """Starts a node of Ray in it, as the documentation says."""
        program = str(Path(sys.executable).with_name("ray"))
        own = [f"--node-ip-address={self.address}", f"--object-store-memory={80 << 20}"]
        done = self.run(program, "start", *own, "--disable-usage-stats", *words, **env)
        if done.returncode:
            raise HostsError(f"ray start in {self.name}: {done.stdout}{done.stderr}")

    def _entering(self, words: Sequence[str]) -> list[str]:
        enter = ["nsenter", "-t", str(self.first), "-n", "-m", "-u", "-i", "-p", "--"]
        return [*enter, "env", "-C", str(self.site), *words]

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "XDG_"))
        }
        own = {"HOME": str(self.short), "TMPDIR": str(self.short), "PYTHONPATH": str(ROOT)}
        return {**kept, **own, "RAY_USAGE_STATS_ENABLED": "0", **more}


class HostLab:
    """Hosts that reach each other through a switch, which has a network of its own."""

    def __init__(self, folder: Path, short: Path) -> None:
        """Hosts have own files below `folder` and `short`; raises HostsError without root."""
        if os.geteuid() != 0 or not all(map(shutil.which, NEEDED)):
            raise HostsError(f"hosts of their own need root and {', '.join(NEEDED)}")
        self._folder, self._short, self._number = folder, short, 0
        self._started: list[subprocess.Popen[bytes]] = []
        self._switch = self._first_process("--net", "--pid")
        self._inside = ["nsenter", "-t", str(self._switch), "-n", "ip"]
        for words in ("link add br0 type bridge", "link set br0 up"):
            _checked([*self._inside, *words.split()])

    def add(self, name: str) -> SeparateHost:
        """One more host."""
        self._number += 1
        first, address = self._first_process(*KINDS), f"{NETWORK}.{self._number}"
        host = SeparateHost(name, address, self._started[-1], first, self._folder, self._short)
        places = (self._folder, self._short, "/dev/shm")
        lines = [f"mount -t tmpfs tmpfs {place}" for place in places]
        _checked(_entered(host, "sh", "-ec", "\n".join([*lines, f"hostname host-{name}"])))
        self._plug(host)
        return host

    def cut(self, host: SeparateHost) -> None:
        """As when its power is cut: its cable is dead first, so that no connection is closed."""
        _checked([*self._inside, "link", "set", self._port(host), "down"])
        host.process.kill()
        host.process.wait()

    def slow(self, seconds: float, *hosts: SeparateHost) -> None:
        """From now on every frame between these hosts takes so long."""
        ports = [self._port(host) for host in hosts]
        for port in ports:
            _checked([*self._inside, "link", "set", port, "nomaster"])
        for host in hosts:
            _checked(_entered(host, sys.executable, HUB, "plain", "eth0"))
        program = [*self._inside[:-1], sys.executable, HUB]
        _checked([*program, "plain", *ports])
        hub = subprocess.Popen([*program, str(seconds), *ports], stdout=subprocess.PIPE)
        self._started.append(hub)
        assert hub.stdout is not None
        hub.stdout.readline()

    def end(self) -> None:
        """Ends all hosts, whatever runs in them."""
        for process in reversed(self._started):
            process.kill()
            process.wait()

    def _plug(self, host: SeparateHost) -> None:
        port = self._port(host)
        pair = ["type", "veth", "peer", "name", "eth0", "netns", str(host.first)]
        _checked([*self._inside, "link", "add", port, *pair])
        _checked([*self._inside, "link", "set", port, "master", "br0", "up"])
        for words in (
            "link set lo up",
            f"addr add {host.address}/24 dev eth0",
            "link set eth0 up",
            "route add default dev eth0",
        ):
            _checked(_entered(host, "ip", *words.split()))

    def _port(self, host: SeparateHost) -> str:
        return f"p{host.address.rpartition('.')[2]}"

    def _first_process(self, *kinds: str) -> int:
        end = ["setpriv", "--pdeathsig=KILL", "--", "unshare", *kinds, "--fork"]
        words = [*end, "--kill-child=KILL", "--", sys.executable, "-c", FIRST]
        self._started.append(subprocess.Popen(words, stdin=subprocess.DEVNULL))
        return _child(self._started[-1].pid)


@contextmanager
def host_lab(folder: Path, short: Path) -> Iterator[HostLab]:
    """Hosts while the block runs; raises HostsError where they cannot be made."""
    lab = HostLab(folder, short)
    try:
        yield lab
    finally:
        lab.end()


def _entered(host: SeparateHost, *words: str) -> list[str]:
    return ["nsenter", "-t", str(host.first), "-n", "-m", "-u", "-p", "--", *words]


def _child(number: int) -> int:
    children = Path(f"/proc/{number}/task/{number}/children")
    for _ in range(500):
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.02)
    raise HostsError("namespaces cannot be made here")


def _checked(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostsError(f"hosts cannot be made here: {' '.join(words)}: {done.stderr.strip()}")
