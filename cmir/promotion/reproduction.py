"""What a version carries so that it can be trained again, and whether that gave the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cmir.data import load_dataset
from cmir.errors import InputError
from cmir.method.training.reports import EpochReport, TrialResult
from cmir.promotion.selection import metric_of
from cmir.promotion.trainings import LocalTrainings
from cmir.registry.recipe import Recipe
from cmir.runner.paths import Paths
from cmir.serving.predictor import Ensemble


@dataclass(frozen=True)
class Agreement:
    """One score as recorded and as trained again.

    Attributes:
        key: `split/metric`.
        recorded: mean over the seeds.
        again: the same of the new training.
        spread: sample deviation over the recorded seeds.
        is_exact: whether every seed has the recorded value, bit for bit.
        agrees: whether the means differ by no more than the spread.
    """

    key: str
    recorded: float
    again: float
    spread: float
    is_exact: bool
    agrees: bool


@dataclass(frozen=True)
class Reproduction:
    """What training a version again gave.

    Attributes:
        scores: of validation data.
        is_exact: whether the weights equal the registered ones, bit for bit.
    """

    scores: list[Agreement]
    is_exact: bool

    @property
    def agrees(self) -> bool:
        """Whether every score is the recorded one or lies within its seeds' spread.

        Equal weights are not asked for, nor enough: evaluation may have changed.
        """
        return all(score.agrees for score in self.scores)


def reproduce_version(
    recipe: Recipe,
    registered: Ensemble,
    folder: Path | None,
    on_epoch: Callable[[EpochReport], None],
) -> Reproduction:
    """Trains a version again from its recipe and compares; held-out data is not read.

    Args:
        recipe: of the version.
        registered: its weights.
        folder: of the data set, in place of the recorded one.
        on_epoch: told of every epoch.

    Raises:
        InputError: there is no such data set, its files were changed since it was prepared, its
            development part is not that of the recipe, or the training diverged.
    """
    dataset = load_dataset(folder) if folder else Paths().dataset(recipe.dataset)
    dataset.verify()
    data = dataset.development()
    if data.checksum != recipe.development_checksum:
        raise InputError(
            f"{data.path}: must be the data that the version was trained on (development checksum "
            f"{recipe.development_checksum[:12]}), but has {data.checksum[:12]}. Give its folder "
            "with --data."
        )
    torch.set_num_threads(recipe.threads)
    has_device = recipe.device == "cpu" or torch.cuda.is_available()
    device = recipe.device if has_device else "cpu"
    here = LocalTrainings(data, device, lambda name, report: on_epoch(report))
    result = here.train({"again": recipe.config})["again"].result
    if result is None:
        raise InputError("the training from the version's recipe diverged: nothing to compare.")
    return Reproduction(agreements(recipe, result), _same_weights(result, registered))


def agreements(recipe: Recipe, result: TrialResult) -> list[Agreement]:
    """The objective's metric on both validation splits."""
    metric = metric_of(recipe.config.objective)
    found = []
    for key in (f"id_val/{metric}", f"ood_val/{metric}"):
        old = np.array([math.nan if v is None else v for v in recipe.by_seed[key]])
        new = np.array(result.by_seed[key])
        spread = float(old.std(ddof=1)) if len(old) > 1 else 0.0
        is_exact = bool(np.array_equal(old, new, equal_nan=True))
        agrees = is_exact or bool(abs(new.mean() - old.mean()) <= spread)
        found.append(Agreement(key, float(old.mean()), float(new.mean()), spread, is_exact, agrees))
    return found


def _same_weights(result: TrialResult, registered: Ensemble) -> bool:
    return torch.equal(result.weights, registered.weights) and all(
        torch.equal(weight, one.kept[seed][name])
        for modality, one in registered.language.items()
        for seed, kept in enumerate(result.language[modality].kept)
        for name, weight in kept.items()
    )
