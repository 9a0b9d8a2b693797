"""A sweep small enough for a test: a few samples, a few epochs, the real machinery."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from cmir.data.synthetic.generation import generate

SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"path": "data/small"},
    "objective": "ood_val/mae",
    "trials": 4,
    "seeds": 2,
    "epochs": 3,
    "fixed": {
        "training.batch_size": 16,
        "model.representation_size": 8,
        "model.hidden_size": 8,
    },
    "search": {
        "environments.view": ["none", "noise", "swap"],
        "environments.count": {
            "low": 1,
            "high": 3,
            "when": {"environments.view": ["noise", "swap"]},
        },
        "training.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    },
    "start_from": [
        {
            "environments.view": "noise",
            "environments.count": 2,
            "training.learning_rate": 0.002,
        }
    ],
    "early_stopping": {"enabled": False},
}


def write_data(folder: Path) -> Path:
    """A synthetic data set of 160 samples."""
    return generate(
        folder,
        modalities={"text": (6, 3), "vision": 5},
        samples={"train": 64, "id_val": 24, "ood_val": 24, "id_test": 24, "ood_test": 24},
        speakers=3,
    )


def write_space(folder: Path, **changes: Any) -> Path:
    """The sweep file below `folder`, with top-level keys replaced."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL | changes, sort_keys=False))
    return path


@contextmanager
def working_in(folder: Path) -> Iterator[Path]:
    """Writes the data below a folder and works there, so that MLflow's default store is there."""
    write_data(folder / "data" / "small")
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)
