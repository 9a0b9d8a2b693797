"""One command as a subprocess on two processors: wall time, processor time, clean-up."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROCESSORS = 2
MARK = "CMIR_BENCHMARK"
LEFT_OUT = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "OMP_NUM_THREADS", MARK)
SAMPLING_SECONDS = 0.25
GRACE_SECONDS = 30.0


class BenchmarkError(RuntimeError):
    """A command that was to be timed failed, or did other work than it was told."""


@dataclass(frozen=True)
class Timing:
    """What one command took.

    Attributes:
        wall_seconds: from its start to its end, imports included.
        cpu_seconds: of all its processes, sampled: tells more where others use the machine.
        load_before: load average of the machine over the minute before.
    """

    wall_seconds: float
    cpu_seconds: float
    load_before: float


def end_as_interrupt() -> None:
    """From here on SIGTERM leaves as Ctrl-C does: what was started is ended, folders are gone."""
    signal.signal(signal.SIGTERM, _interrupt)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards; its name is short, for the sake of Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="cmir-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def timed(
    command: Sequence[str],
    folder: Path,
    timeout: float = 3600.0,
    look: Callable[[Collection[int]], None] = lambda processes: None,
) -> Timing:
    """Runs a command in a folder on two processors; `look` is shown its processes as it runs.

    Raises:
        BenchmarkError: it failed or took too long; the message ends with what it printed.
    """
    mark, log = uuid.uuid4().hex, folder / "output.log"
    before, began = os.getloadavg()[0], time.perf_counter()
    with log.open("wb") as output, _two_processors():
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(folder, mark),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    cpu = _watch(process, mark, began + timeout, look)
    wall = time.perf_counter() - began
    if process.returncode:
        tail = log.read_text(errors="replace")[-2000:]
        raise BenchmarkError(f"{' '.join(command)} ended with {process.returncode}:\n{tail}")
    return Timing(wall, cpu, before)


def _environment(folder: Path, mark: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    own = {
        "PYTHONPATH": path,
        "CUDA_VISIBLE_DEVICES": "",
        "RAY_TMPDIR": str(folder),
        # Ray's workers step back for other processes of the machine; those of Optuna would not.
        "RAY_worker_niceness": "0",
        MARK: mark,
    }
    return kept | own


@contextmanager
def _two_processors() -> Iterator[None]:
    """What is started inside runs on two processors; without affinity, on all of them."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:PROCESSORS])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _watch(
    process: subprocess.Popen[bytes],
    mark: str,
    deadline: float,
    look: Callable[[Collection[int]], None],
) -> float:
    """Waits for the end; returns the processor seconds of all processes that carry the mark."""
    used: dict[int, float] = {}
    try:
        while process.poll() is None:
            now = _processor_seconds(mark)
            used |= now
            look(now)
            if time.perf_counter() > deadline:
                raise BenchmarkError(f"{process.args!r} was still running at its time limit")
            time.sleep(SAMPLING_SECONDS)
    finally:
        if process.poll() is None:
            _stop(process, mark)
    return sum(used.values())


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _stop(process: subprocess.Popen[bytes], mark: str) -> None:
    """Ends a command, which may take its children with it, and then what is left of them."""
    process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for number in _processor_seconds(mark):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def _processor_seconds(mark: str) -> dict[int, float]:
    """Processor seconds so far of the living processes that carry the mark, by process id."""
    ticks, found = os.sysconf("SC_CLK_TCK"), {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() not in (path / "environ").read_bytes():
                continue
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # It ended meanwhile, or belongs to somebody else.
            continue
        found[int(path.name)] = (int(fields[11]) + int(fields[12])) / ticks
    return found
