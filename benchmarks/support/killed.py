"""One command that is ended on purpose: how, when, and what becomes of it and its helpers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
PROC = Path("/proc")

End = Literal[
    "driver SIGKILL",
    "group SIGKILL",
    "worker SIGKILL",
    "raylet SIGKILL",
    "gcs_server SIGKILL",
    "driver SIGINT",
    "driver SIGTERM",
    "group SIGTERM",
]
# Processes of Ray's that are no workers.
AGENTS = ("ray::Dashboard", "ray::RuntimeEnv")
# Seconds: for an end to come at all, and for one process of Ray's to appear.
LONGEST, APPEARING = 60.0, 30.0
# Seconds that a command goes on for after a worker has died, until it is told to end.
AFTERWARDS = 4.0


@dataclass(frozen=True)
class Round:
    """What became of a command.

    Attributes:
        was_there: whether what was to be ended was there to be ended.
        code: of its exit; None where it hung.
        seconds: from the signal to its end.
    """

    was_there: bool
    code: int | None
    seconds: float


def started(folder: Path) -> subprocess.Popen[bytes]:
    """The sweep's command in a folder, as the first process of a group of its own."""
    script = ROOT / "workflows" / "sweep.py"
    with (folder / "log").open("wb") as log:
        # Trials of a few seconds shall have runs while they train.
        options = ["--space", "kills.yaml", "--concurrency", "2", "--live", "0.5"]
        return subprocess.Popen(
            [sys.executable, script, *options],
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )


def end(command: subprocess.Popen[bytes], kind: End, moment: float) -> Round:
    """Ends a command, or a part of it, so many seconds after its start; waits for its end."""
    what, _, name = kind.partition(" ")
    number = getattr(signal, name)
    try:
        command.wait(moment)
        return Round(False, command.returncode, 0.0)
    except subprocess.TimeoutExpired:
        pass
    if name != "SIGKILL":
        _wait_until_python(command)
    was_there = _send(command, what, number)
    begun = time.monotonic()
    if was_there and what == "worker":
        _wait(command, AFTERWARDS)
        begun = time.monotonic()
    if what == "worker" or not was_there:
        command.send_signal(signal.SIGTERM)
    _wait(command, LONGEST)
    seconds, code = time.monotonic() - begun, command.returncode
    if code is None or name == "SIGKILL":
        _end_session(command)
    return Round(was_there, code, seconds)


def left_of(command: subprocess.Popen[bytes], seconds: float) -> list[int]:
    """Processes of a command's session that live so long after it; ends them."""
    deadline = time.monotonic() + seconds
    while (left := _session(command.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    _end_session(command)
    return left


def _send(command: subprocess.Popen[bytes], what: str, number: int) -> bool:
    if what == "driver":
        command.send_signal(number)
    elif what == "group":
        os.killpg(command.pid, number)
    else:
        found = _part(command, what)
        if found is None:
            return False
        os.kill(found, number)
    return True


def _wait_until_python(command: subprocess.Popen[bytes]) -> None:
    """Waits for the command's first line: before it Python itself has not begun, nobody answers."""
    deadline = time.monotonic() + APPEARING
    while time.monotonic() < deadline and command.poll() is None:
        status = (PROC / str(command.pid) / "status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.01)


def _part(command: subprocess.Popen[bytes], what: str) -> int | None:
    """A process of Ray's, as soon as it is there; None where the command ends without it."""
    deadline = time.monotonic() + APPEARING
    while time.monotonic() < deadline and command.poll() is None:
        for number in _session(command.pid):
            name = _name(number)
            is_worker = name.startswith("ray::") and not name.startswith(AGENTS)
            if name == what or (what == "worker" and is_worker):
                return number
        time.sleep(0.05)
    return None


def _wait(command: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        command.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _end_session(command: subprocess.Popen[bytes]) -> None:
    """Ends what is left of the command that was started here."""
    for number in _session(command.pid):
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
    _wait(command, LONGEST)


def _session(leader: int) -> list[int]:
    """Running processes of a command's session; Ray gives workers process groups of their own."""
    found = []
    for folder in PROC.iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields and int(fields[3]) == leader and fields[0] not in "ZX":
            found.append(int(folder.name))
    return found


def _name(number: int) -> str:
    try:
        return (PROC / str(number) / "comm").read_text().strip()
    except OSError:
        return ""
