"""The memory of all processes of a sweep together, sampled while it runs."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.support.mosei_like import write_mosei_like
from benchmarks.support.timed import ROOT, BenchmarkError, scratch, timed
from cmir.runner.paths import Paths
from cmir.runner.studies.storage import journal_storage
from cmir.runner.studies.study import records_of

COMMAND = ROOT / "workflows" / "sweep.py"
NAME = "memory"
DRIVER, WORKERS, RAY = "driver", "workers", "Ray's own"
# Of the lines of Linux's smaps_rollup.
PARTS = {"total": "Pss", "anonymous": "Pss_Anon", "file": "Pss_File", "shared": "Pss_Shmem"}


@dataclass(frozen=True)
class Held:
    """Bytes that the processes of one kind hold, pages divided among all who share them.

    Attributes:
        kind: the driver, its workers, or Ray's own processes.
        processes: how many there are.
        total: the sum of the next three.
        anonymous: what belongs to no file.
        file: pages of mapped files, programs and libraries among them.
        shared: shared memory, such as Ray's object store.
    """

    kind: str
    processes: int = 0
    total: int = 0
    anonymous: int = 0
    file: int = 0
    shared: int = 0

    def with_process(self, memory: Mapping[str, int]) -> Held:
        """With one more process, its memory by the names of `smaps_rollup`."""
        added = {name: getattr(self, name) + memory.get(key, 0) for name, key in PARTS.items()}
        return Held(self.kind, self.processes + 1, **added)


@dataclass
class Peak:
    """The largest of the samples that were taken."""

    largest: list[Held] = field(default_factory=list)

    def look(self, processes: Collection[int]) -> None:
        """Takes a sample of the processes with these ids."""
        found = {kind: Held(kind) for kind in (DRIVER, WORKERS, RAY)}
        for number in processes:
            with suppress(OSError):  # It ended meanwhile.
                kind, memory = _kind_of(number), memory_of(number)
                found[kind] = found[kind].with_process(memory)
        now = list(found.values())
        if _total(now) > _total(self.largest):
            self.largest = now


def measure_sweep(scale: float, trials: int, seeds: int, epochs: int) -> list[dict[str, Any]]:
    """A sweep with two workers on data of `scale` times MOSEI's samples: its memory at its peak.

    Returns:
        a row for each kind of process, with the bytes of the data's files that may be `mapped`.

    Raises:
        BenchmarkError: not all trials finished.
    """
    peak = Peak()
    with scratch() as folder:
        data = write_mosei_like(folder / "data", scale)
        mapped = sum(file.stat().st_size for file in data.glob("*.npy"))
        path = write_sweep(folder, data, trials, seeds, epochs)
        command = [sys.executable, str(COMMAND), "--space", str(path), "--concurrency", "2"]
        timing = timed(command, folder, look=peak.look)
        records = records_of(journal_storage(Paths(folder).journal(NAME)), NAME)
    finished = sum(record.outcome == "finished" for record in records)
    if finished != trials:
        raise BenchmarkError(f"of {trials} trials {finished} finished")
    about = {"scale": scale, "trials": trials, "seeds": seeds, "epochs": epochs, "mapped": mapped}
    return [{**asdict(held), **about, **asdict(timing)} for held in peak.largest]


def write_sweep(folder: Path, data: Path, trials: int, seeds: int, epochs: int) -> Path:
    """A sweep file with the default sizes: Transformers over sound and sight, pooled language."""
    content = {
        "name": NAME,
        "data": {"path": str(data)},
        "objective": "ood_val/mae",
        "trials": trials,
        "seeds": seeds,
        "epochs": epochs,
        "fixed": {"environments.view": "swap", "environments.partition": "random"},
        "search": {"training.learning_rate": {"low": 1e-4, "high": 1e-3, "log": True}},
        "early_stopping": {"enabled": False},
    }
    path = folder / "memory.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def memory_of(process: int) -> dict[str, int]:
    """The memory of a process in bytes, by the names of Linux's smaps_rollup."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split()[0].rstrip(":"): int(line.split()[1]) << 10 for line in lines}


def _kind_of(process: int) -> str:
    command = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
    if command.startswith("ray::"):
        return WORKERS
    return DRIVER if str(COMMAND) in command else RAY


def _total(held: Collection[Held]) -> int:
    return sum(one.total for one in held)
