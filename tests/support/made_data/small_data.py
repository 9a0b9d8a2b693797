"""Small datasets and small files in the field's layout, for the tests of `cmir.data`."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cmir.data import write_dataset

SIZES = {"train": 12, "id_val": 6, "ood_val": 6, "id_test": 4, "ood_test": 4}
COUNT = sum(SIZES.values())
STEPS = 5

Content = dict[str, dict[str, Any]]


def small_samples(task: str = "regression") -> pl.DataFrame:
    rng = np.random.default_rng(1)
    split = [name for name, size in SIZES.items() for _ in range(size)]
    label = np.arange(COUNT) % 2 if task == "binary" else rng.uniform(-3, 3, COUNT)
    return pl.DataFrame(
        {
            "id": [f"s{index}" for index in range(COUNT)],
            "split": split,
            "label": label.astype(np.float32),
            "speaker": [f"{name}{index % 3}" for index, name in enumerate(split)],
            "text_length": rng.integers(1, STEPS + 1, COUNT).astype(np.int32),
            "raw_text": [f"words of {index}" for index in range(COUNT)],
        }
    )


def small_features() -> dict[str, Any]:
    rng = np.random.default_rng(2)
    return {
        "text": rng.normal(size=(COUNT, STEPS, 3)).astype(np.float16),
        "audio": rng.normal(3.0, 2.0, size=(COUNT, 4)).astype(np.float32),
    }


def write_small(folder: Path, **changes: Any) -> Path:
    """A dataset folder; `changes` replace arguments of `write_dataset`."""
    arguments: dict[str, Any] = {
        "samples": small_samples(),
        "features": small_features(),
        "task": "regression",
        "label_range": (-3.0, 3.0),
        "name": "small",
        "source": {"file": "small.pkl"},
        "shift": {"scheme": "given"},
    }
    return write_dataset(folder, **(arguments | changes))


def mmsa_split(name: str, count: int, videos: int, seed: int = 0) -> dict[str, Any]:
    """One split with the keys, dtypes and shapes that MMSA writes."""
    rng = np.random.default_rng([seed, count])
    return {
        "raw_text": np.array([f"{name} words {index}" for index in range(count)]),
        "text": rng.normal(size=(count, STEPS, 6)).astype(np.float32),
        "text_bert": rng.normal(size=(count, 3, STEPS)).astype(np.float32),
        "audio": rng.normal(size=(count, 8, 3)),
        "audio_lengths": rng.integers(1, 9, count).tolist(),
        "vision": rng.normal(size=(count, 1, 4)).astype(np.float32),
        "vision_lengths": [1] * count,
        "id": [f"{name}{index % videos}$_${index}" for index in range(count)],
        "annotations": ["Positive"] * count,
        "classification_labels": rng.integers(0, 3, count).astype(float),
        "regression_labels": rng.uniform(-3, 3, count).astype(np.float32),
    }


def mmsa_content(**sizes: int) -> Content:
    """`{split: keys}`; by default MMSA's own splits, with 4 videos each."""
    sizes = sizes or {"train": 40, "valid": 16, "test": 16}
    return {name: mmsa_split(name, size, 4) for name, size in sizes.items()}


def write_pickle(file: Path, content: object) -> Path:
    file.write_bytes(pickle.dumps(content, protocol=4))
    return file


def write_npz(file: Path, content: Mapping[str, Mapping[str, Any]]) -> Path:
    np.savez(
        file, **{f"{s}/{key}": value for s, keys in content.items() for key, value in keys.items()}
    )
    return file
