"""The memory of a sweep on generated data of CMU-MOSEI's shapes: of one more worker, of the whole.

    python benchmarks/memory.py --scale 0.1          (1: all 22,856 samples, 4 GB on disk)

The whole is the driver, two workers and Ray's own processes, sampled while the sweep runs (Linux
only). A page that several of them share is divided among them, as the kernel's "proportional set
size" has it, so that the sum counts each page once: a mapped file as many times as it is resident,
at most once. Pages of files that nobody maps, the kernel's cache, are not counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.mosei_like import write_mosei_like
from benchmarks.support.results import Row, keep, show
from benchmarks.support.sweep_memory import measure_sweep, memory_of
from benchmarks.support.timed import ROOT, BenchmarkError, end_as_interrupt, scratch
from cmir.cli import positive

SHARE_AIM, REST_AIM = 0.10, 2e9


def measure(scale: float) -> dict[str, Any]:
    """Two worker processes on a generated data set of `scale` times MOSEI's samples.

    Returns:
        bytes: `disk` of the folder; `added` to the memory in use by the second worker's data, its
        imports not counted (pages that workers share count once); `private` of it what no other
        process can use; `resident` of a whole worker; and `share`, added by disk.
    """
    with scratch() as folder:
        data = write_mosei_like(folder / "data", scale)
        disk = sum(file.stat().st_size for file in data.iterdir())
        with Worker(data) as first, Worker(data) as second:
            first.load()
            before, imports = first.now()["Pss"] + second.now()["Pss"], private(second.now())
            second.load()
            loaded = second.now()
            added = first.now()["Pss"] + loaded["Pss"] - before
    return {
        "scale": scale,
        "disk": disk,
        "added": added,
        "private": private(loaded) - imports,
        "resident": loaded["Rss"],
        "share": added / disk,
    }


class Worker:
    """One process of `memory_worker`; it ends with its context."""

    def __init__(self, data: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.support.memory_worker", str(data)],
            cwd=ROOT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Worker:
        self._hear("imported")
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def load(self) -> None:
        """Lets it load the data."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._hear("loaded")

    def now(self) -> dict[str, int]:
        """Its memory in bytes, by the names of Linux's smaps_rollup."""
        return memory_of(self._process.pid)

    def _hear(self, word: str) -> None:
        assert self._process.stdout is not None
        heard = self._process.stdout.readline().strip()
        if heard != word:
            raise BenchmarkError(f"a worker process was to say '{word}', but said '{heard}'")


def private(memory: Mapping[str, int]) -> int:
    """The bytes that belong to one process alone."""
    return memory["Private_Clean"] + memory["Private_Dirty"]


def worker_line(row: Row) -> Row:
    """What is shown of a second worker."""
    return {
        "data MB": row["disk"] / 1e6,
        "added MB": row["added"] / 1e6,
        "share": row["share"],
        "aim": SHARE_AIM,
        "private MB": row["private"] / 1e6,
        "resident MB": row["resident"] / 1e6,
    }


def sweep_lines(rows: Sequence[Row]) -> list[Row]:
    """By kind of process and in sum, at the moment when the sum was largest."""
    shown = [
        {
            "processes": row["kind"],
            "number": row["processes"],
            "MB": row["total"] / 1e6,
            "own MB": row["anonymous"] / 1e6,
            "files MB": row["file"] / 1e6,
            "shared MB": row["shared"] / 1e6,
        }
        for row in rows
    ]
    whole = {name: sum(line[name] for line in shown) for name in shown[0] if name != "processes"}
    return [*shown, {"processes": "all", **whole}]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, measures, prints and keeps the numbers."""
    given = _parse(arguments)
    end_as_interrupt()
    rows: list[Row] = []
    if "worker" in given.only:
        row = measure(given.scale)
        rows.append({"measure": "worker", **row})
        show("what a second worker adds, its imports not counted", [worker_line(row)])
    if "sweep" in given.only:
        found = measure_sweep(given.scale, given.trials, given.seeds, given.epochs)
        rows += [{"measure": "sweep", **row} for row in found]
        mapped = found[0]["mapped"]
        limit = (mapped + REST_AIM) / 1e6
        show(
            f"a sweep of {given.trials} trials x {given.seeds} seeds at its peak; "
            f"{mapped / 1e6:.0f} MB of files, aim: at most {limit:.0f} MB",
            sweep_lines(found),
        )
    print(f"kept in {keep(rows, 'memory', given.out)}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    measures = ("worker", "sweep")
    parser.add_argument("--only", nargs="+", choices=measures, default=measures)
    parser.add_argument("--scale", type=float, default=0.1, help="samples, as a share of MOSEI's")
    parser.add_argument("--trials", type=positive, default=4)
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--epochs", type=positive, default=2)
    parser.add_argument("--out", type=Path, help="Parquet file, in place of benchmarks/results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
