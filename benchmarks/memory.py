"""The memory that a second worker on a machine adds, on data of the shapes of CMU-MOSEI."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.timed import ROOT, BenchmarkError, scratch
from cmir.data import write_dataset
from cmir.data.manifest import SPLITS

SAMPLES, STEPS = 22_856, 50
SIZES = {"text": 768, "audio": 74, "vision": 35}
SPLIT_SHARES = (0.6, 0.1, 0.1, 0.1, 0.1)
CHUNK = 256


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


def write_mosei_like(folder: Path, scale: float) -> Path:
    """A data set of MOSEI's shapes and random numbers, `scale` times as many samples."""
    count = int(SAMPLES * scale)
    ends = np.cumsum(np.array(SPLIT_SHARES) * count).round().astype(int)
    split = np.repeat(np.array(SPLITS), np.diff(ends, prepend=0))
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, STEPS + 1, len(split)).astype(np.int32)
    samples = pl.DataFrame(
        {
            "id": [str(index) for index in range(len(split))],
            "split": split.tolist(),
            "label": rng.uniform(-3, 3, len(split)).astype(np.float32),
            "video": [f"v{index // 7}" for index in range(len(split))],
            **{f"{name}_length": lengths for name in SIZES},
        }
    )
    return write_dataset(
        folder,
        samples=samples,
        features={name: _chunks(rng, len(split), size) for name, size in SIZES.items()},
        task="regression",
        label_range=(-3.0, 3.0),
        name="mosei-like",
        source={},
        shift={"scheme": "none"},
    )


class Worker:
    """One process of `memory_worker`; it ends with its context."""

    def __init__(self, data: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.memory_worker", str(data)],
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
        lines = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines()[1:]
        return {line.split()[0].rstrip(":"): int(line.split()[1]) * 1024 for line in lines}

    def _hear(self, word: str) -> None:
        assert self._process.stdout is not None
        heard = self._process.stdout.readline().strip()
        if heard != word:
            raise BenchmarkError(f"a worker process was to say '{word}', but said '{heard}'")


def private(memory: Mapping[str, int]) -> int:
    """The bytes that belong to one process alone."""
    return memory["Private_Clean"] + memory["Private_Dirty"]


def _chunks(rng: np.random.Generator, count: int, size: int) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, count, CHUNK):
        yield rng.standard_normal((min(CHUNK, count - start), STEPS, size), dtype=np.float32)
