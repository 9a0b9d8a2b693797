"""Data whose splits lie among each other, row by row, as held-out groups leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from cmir.data import write_dataset

SPLITS = ("train", "id_val", "ood_val", "id_test", "ood_test")


def write_mixed(folder: Path, samples: int = 80) -> Path:
    """A data set of a sequence and a vector, with every split in short runs."""
    random = np.random.default_rng(7)
    splits = np.repeat(random.choice(SPLITS, samples // 2), 2)
    splits[:10] = np.repeat(SPLITS, 2)
    table = pl.DataFrame(
        {
            "id": [f"sample {number}" for number in range(samples)],
            "split": splits,
            "label": random.uniform(-3, 3, samples).astype(np.float32),
            "speech_length": random.integers(1, 5, samples).astype(np.int32),
            "person": [f"p{number % 7}" for number in range(samples)],
        }
    )
    features = {
        "speech": random.normal(size=(samples, 4, 3)).astype(np.float32),
        "face": random.normal(size=(samples, 6)).astype(np.float16),
    }
    return write_dataset(folder, table, features, task="regression", label_range=(-3.0, 3.0))
