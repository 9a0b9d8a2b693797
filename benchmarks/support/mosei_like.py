"""Generated data of the shapes of CMU-MOSEI, written in a stream: random numbers, much of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data import write_dataset
from cmir.data.manifest import SPLITS

SAMPLES, STEPS = 22_856, 50
SIZES = {"text": 768, "audio": 74, "vision": 35}
SPLIT_SHARES = (0.6, 0.1, 0.1, 0.1, 0.1)
CHUNK = 256


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


def _chunks(rng: np.random.Generator, count: int, size: int) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, count, CHUNK):
        yield rng.standard_normal((min(CHUNK, count - start), STEPS, size), dtype=np.float32)
