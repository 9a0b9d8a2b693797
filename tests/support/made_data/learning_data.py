"""A small dataset with one modality of each kind, and small configurations to train on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, write_dataset
from cmir.data.task import Task
from cmir.method.training.fitting import fit
from cmir.method.training.replica_stack import Stack
from cmir.method.training.reports import Diverged, TrialResult

SIZES = {"train": 48, "id_val": 20, "ood_val": 24, "id_test": 8, "ood_test": 10}
COUNT = sum(SIZES.values())
STEPS = 4

SMALL: Mapping[str, Any] = {
    "model.representation_size": 8,
    "model.hidden_size": 16,
    "training.batch_size": 16,
    "training.learning_rate": 0.01,
    "training.epochs": 3,
}

# Every view, the other forms of the losses and a partition.
VARIANTS: dict[str, dict[str, Any]] = {
    "none": {},
    "noise": {"environments__view": "noise", "environments__count": 2},
    "swap": {
        "environments__view": "swap",
        "environments__rate__vision": 0.9,
        "loss__prediction_views": "all",
    },
    "erase": {"environments__view": "erase", "loss__reduction": "sum"},
    "groups": {
        "environments__partition": "speaker",
        "environments__groups": 3,
        "loss__penalty_weight": 2.0,
        "loss__penalty_anneal_epochs": 1,
        "loss__normalise": "batch",
    },
    "group_dro": {
        "environments__partition": "speaker",
        "environments__groups": 3,
        "loss__penalty": "group_dro",
        "loss__group_dro_step": 0.1,
        "loss__decorrelation": "cross_covariance",
    },
    "fishr": {
        "environments__partition": "speaker",
        "environments__groups": 3,
        "loss__penalty": "fishr",
        "loss__decorrelation": "hsic",
    },
    "standard": {
        "environments__view": "noise",
        "environments__count": 2,
        "loss__invariance": 0.2,
        "loss__invariance_form": "predictions",
    },
}


NAMED = {
    "classes": Task("classes", names=("bad", "neutral", "good")),
    "multilabel": Task("multilabel", names=("happy", "moved")),
}


def learning_samples(task: str = "regression", heldout_seed: int = 0) -> pl.DataFrame:
    """Labels of `id_test` and `ood_test` come from `heldout_seed` alone."""
    split = np.repeat(list(SIZES), list(SIZES.values()))
    label = np.random.default_rng(1).uniform(-3, 3, COUNT)
    heldout = np.isin(split, ["id_test", "ood_test"])
    label[heldout] = np.random.default_rng([2, heldout_seed]).permutation(np.linspace(-3, 3, 18))
    if task == "binary":
        label = (label > 0).astype(np.float64)
    if task == "classes":
        label = np.digitize(label, [-1.0, 1.0]).astype(np.float64)
    lists = None
    if task == "multilabel":
        lists = np.stack([label > 0, np.abs(label) > 1.5], 1).astype(np.float32).tolist()
    return pl.DataFrame(
        {
            "id": [f"s{index}" for index in range(COUNT)],
            "split": split.tolist(),
            "label": lists or label.astype(np.float32),
            "speaker": [f"{name}{index % 5}" for index, name in enumerate(split)],
            "text_length": np.random.default_rng(3).integers(1, STEPS + 1, COUNT).astype(np.int32),
            "audio_length": np.random.default_rng(4).integers(1, STEPS + 1, COUNT).astype(np.int32),
        }
    )


def learning_features(samples: pl.DataFrame, padding: int = 0) -> dict[str, Any]:
    """`text` and `audio` are sequences, `vision` is a vector; `padding` steps of rubbish follow."""
    rng = np.random.default_rng(5)
    development = ~samples["split"].is_in(["id_test", "ood_test"]).to_numpy()
    label = samples["label"].to_numpy()
    scaled = 2 * (label - label[development].mean()) / label[development].std()
    signal = np.where(development, scaled, 0.0)[:, None]
    text = rng.normal(size=(COUNT, STEPS, 5)) + signal[..., None] * rng.normal(size=5)
    audio = rng.normal(2.0, 3.0, size=(COUNT, STEPS, 4))
    vision = rng.normal(size=(COUNT, 3)) + signal
    rubbish = np.full((COUNT, padding, 1), 7.0)
    return {
        "text": np.concatenate([text, rubbish.repeat(5, 2)], axis=1).astype(np.float32),
        "audio": np.concatenate([audio, rubbish.repeat(4, 2)], axis=1).astype(np.float32),
        "vision": vision.astype(np.float32),
    }


def write_learning(
    folder: Path, task: str = "regression", heldout_seed: int = 0, padding: int = 0, **changes: Any
) -> Path:
    """A dataset folder; `changes` replace arguments of `write_dataset`."""
    samples = learning_samples(task, heldout_seed)
    shown = learning_samples("regression", heldout_seed) if task in NAMED else samples
    arguments: dict[str, Any] = {
        "samples": samples,
        "features": learning_features(shown, padding),
        "task": NAMED.get(task, task),
        "label_range": (-3.0, 3.0) if task == "regression" else None,
        "name": "learning",
        "source": {"file": "none"},
        "shift": {"scheme": "none"},
    }
    return write_dataset(folder, **(arguments | changes))


def small_config(seeds: tuple[int, ...] = (0,), **changes: Any) -> TrialConfig:
    """The small configuration; in the names of `changes`, `__` stands for the dot."""
    flat = {key.replace("__", "."): value for key, value in changes.items()}
    return trial_config({**SMALL, **flat}, seeds=seeds)


def trained(data: DevelopmentData, config: TrialConfig) -> TrialResult:
    """The result of a training that is run to its end."""
    *_, last = fit(data, config)
    assert last.result is not None
    return last.result


def ends(training: Stack) -> dict[int, TrialResult | Diverged]:
    """How each configuration of a stack ends."""
    found: dict[int, TrialResult | Diverged] = {}
    while training.running:
        for index, report in training.run_epoch().items():
            if isinstance(report, Diverged):
                found[index] = report
            elif report.result is not None:
                found[index] = report.result
    return found


def assert_close_weights(found: Tensor, wanted: Tensor) -> None:
    """Equal but for single weights: Adam turns the rounding of a vanishing gradient into a step."""
    assert found.shape == wanted.shape
    assert (found - wanted).abs().mean() < 1e-6
    assert (found - wanted).abs().max() < 2e-3


def assert_close(found: TrialResult, wanted: TrialResult) -> None:
    assert found.best_epochs == wanted.best_epochs
    assert_close_weights(found.weights, wanted.weights)
    assert found.metrics == pytest.approx(dict(wanted.metrics), rel=1e-3, abs=1e-3)


def assert_identical(found: TrialResult, wanted: TrialResult) -> None:
    assert torch.equal(found.weights, wanted.weights)
    assert found.best_epochs == wanted.best_epochs
    assert found.by_seed == wanted.by_seed
    assert (found.objective, found.metrics) == (wanted.objective, wanted.metrics)
