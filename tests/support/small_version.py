"""A registered version without a sweep: two seeds trained for a few epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient

from cmir.data import DevelopmentData, load_dataset
from cmir.registry.model_registry import Registry, promotion_run
from cmir.serving.predictor import Ensemble
from cmir.serving.trained_ensemble import ensemble_of
from tests.support.made_data.learning_data import small_config, trained, write_learning

NAME = "cmir-test"
# Vision may be left out of a request, the others may not.
ERASING_VISION: dict[str, Any] = {
    "environments__view": "erase",
    "environments__rate__text": 0.0,
    "environments__rate__audio": 0.0,
    "environments__rate__vision": 0.5,
}


def register_version(client: MlflowClient, data: DevelopmentData, **changes: Any) -> Ensemble:
    """The next version of `cmir-test`, alias champion; `changes` as for `small_config`."""
    ensemble = ensemble_of(trained(data, small_config((3, 4), **changes)), data)
    registry = Registry(client, NAME)
    registry.accesses()
    with promotion_run(client, "test", "test", None) as run:
        registry.register(run, ensemble, data, {}, {}, "A test.", "champion")
    return ensemble


def small_development(folder: Path) -> DevelopmentData:
    """The development part of a data set written into `folder`."""
    return load_dataset(write_learning(folder)).development()


def request_of(data: DevelopmentData, rows: Any, *left_out: str) -> dict[str, Any]:
    """Raw features of some rows as a request takes them, without some modalities."""
    parts = [part for part in data.modalities.values() if part.name not in left_out]
    lengths = {f"{p.name}_lengths": p.lengths[rows] for p in parts if p.lengths is not None}
    return {part.name: np.array(part.array[rows]) for part in parts} | lengths
