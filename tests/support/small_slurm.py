"""A SLURM of its own for a test: its servers, and two nodes of one processor on this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.support.model_server import end, free_port, start

# A job that is put back into the queue waits as long as its credentials live: SLURM's own two
# minutes are too long for a test.
CREDENTIAL_SECONDS = 5
START_SECONDS = 60.0
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "sinfo")
SETTINGS = """\
ClusterName=small
SlurmctldHost=localhost
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge,cred_expire={seconds}
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
KillWait=10
NodeName=node1 NodeHostName={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=node2 NodeHostName={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=small Nodes=node1,node2 Default=YES State=UP
"""


@contextmanager
def small_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Starts it below a folder with a short path; yields the environment of its users.

    Whatever runs there ends with the block.
    """
    missing = [program for program in PROGRAMS if not _program(program)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install slurm-wlm munge")
    environment = {"SLURM_CONF": str(_settings(folder))}
    commands = [_munge(folder), ["slurmctld", "-D", "-c"]]
    commands += [["slurmd", "-D", "-N", name] for name in ("node1", "node2")]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for program, *words in commands:
            log = folder / f"{'-'.join((program, *words[-1:])).replace('/', '-')}.log"
            started.append(start([_program(program), *words], log, environment))
            time.sleep(0.5)
        _wait_for_nodes(environment)
        yield environment
    finally:
        asked("scancel", f"--user={getpass.getuser()}", environment=environment)
        _wait_for_jobs(environment)
        for process in reversed(started):
            end(process)


def asked(*words: str, environment: dict[str, str]) -> str:
    """What a program of SLURM prints."""
    done = subprocess.run(
        words, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def _program(name: str) -> str:
    """Where a program is; servers often lie where users do not look."""
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    return shutil.which(name, path=places) or ""


def _settings(folder: Path) -> Path:
    ports = [free_port() for _ in range(3)]
    path = folder / "slurm.conf"
    text = SETTINGS.format(
        user=getpass.getuser(),
        folder=folder,
        ports=ports,
        host=socket.gethostname().partition(".")[0],
        seconds=CREDENTIAL_SECONDS,
    )
    (folder / "state").mkdir()
    path.write_text(text)
    return path


def _munge(folder: Path) -> list[str]:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    files = {"key-file": key, "socket": folder / "munge", "pid-file": folder / "munge.pid"}
    files |= {"seed-file": folder / "munge.seed", "log-file": folder / "munge.log"}
    # It would refuse a folder below /tmp otherwise, which others may write.
    return [
        "munged",
        "--foreground",
        "--force",
        *(f"--{name}={file}" for name, file in files.items()),
    ]


def _wait_for_nodes(environment: dict[str, str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while (said := asked("sinfo", "-h", "-o", "%D %t", environment=environment)) != "2 idle\n":
        if time.monotonic() > deadline:
            pytest.skip(f"SLURM does not start here: {said.strip()}")
        time.sleep(0.5)


def _wait_for_jobs(environment: dict[str, str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while asked("squeue", "-h", environment=environment) and time.monotonic() < deadline:
        time.sleep(0.5)
