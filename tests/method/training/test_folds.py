"""Folds of groups as replicas of one stack: what each learns from, and what it is scored on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.data.group_folds import folds_of
from cmir.errors import InputError
from cmir.method.training.fitting import check
from cmir.method.training.folds import Folds, folds_for
from cmir.method.training.replica_stack import Stack
from tests.support.made_data.learning_data import (
    SMALL,
    assert_close,
    trained,
    write_learning,
)

GROUPS = 7
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    """Training samples of seven speakers."""
    data = load_dataset(write_learning(tmp_path_factory.mktemp("folds") / "d")).development()
    speakers = [f"s{number % GROUPS}" for number in range(len(data.train))]
    table = data.train.samples.drop("environment", strict=False)
    table = table.with_columns(pl.Series("speaker", speakers))
    return replace(data, train=replace(data.train, samples=table))


def crossed(seeds: tuple[int, ...], **changes: Any) -> TrialConfig:
    flat = {key.replace("__", "."): value for key, value in changes.items()}
    return trial_config({**SMALL, **flat}, objective="cv/mae", seeds=seeds)


def folds(data: DevelopmentData) -> Folds:
    found = folds_for(data, crossed((0, 1, 2)))
    assert found is not None
    return found


def test_folds_hold_whole_groups_and_are_about_equal() -> None:
    groups = np.random.default_rng(0).integers(0, 30, 400)
    fold = folds_of(groups, 5)
    assert all(len(np.unique(fold[groups == one])) == 1 for one in np.unique(groups))
    sizes = np.bincount(fold)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() < 30


def test_every_sample_is_held_once_and_kept_by_the_others(data: DevelopmentData) -> None:
    found = folds(data)
    held = [found.held(seed) for seed in range(3)]
    assert sorted(np.concatenate([one.rows for one in held])) == sorted(data.train.rows)
    for seed, one in enumerate(held):
        kept = set(data.train.rows[found.kept(seed)])
        assert not kept & set(one.rows)
        assert len(kept) + len(one) == len(data.train)
        speakers = set(one.samples["speaker"])
        assert not speakers & set(data.train.samples["speaker"].to_numpy()[found.kept(seed)])
    assert (found.kept(4) == found.kept(1)).all()
    assert found.smallest == min(len(found.kept(seed)) for seed in range(3))


def test_a_replica_learns_nothing_from_the_fold_that_it_is_scored_on(data: DevelopmentData) -> None:
    config = crossed((1,), training__epochs=2, loss__prediction="mse")
    labels = data.train.labels.copy()
    labels[np.setdiff1d(np.arange(len(labels)), folds(data).kept(1))] = 3.0
    other = replace(data, train=replace(data.train, labels=labels))
    weights = []
    for one in (data, other):
        stack = Stack(one, [config], CPU)
        stack.run_epoch()
        weights.append(torch.cat([w.flatten() for w in stack._optimiser.weights.values()]))
    assert torch.equal(*weights)


def test_a_stack_of_folds_equals_its_replicas_alone(data: DevelopmentData) -> None:
    together = trained(data, crossed((0, 1, 2), training__epochs=3))
    for place, seed in enumerate((0, 1, 2)):
        alone = trained(data, crossed((seed,), training__epochs=3))
        assert alone.best_epochs == (together.best_epochs[place],)
        for name, values in alone.by_seed.items():
            assert values[0] == pytest.approx(together.by_seed[name][place], rel=1e-3, abs=1e-3)


def test_the_objective_is_the_mean_error_of_the_folds(data: DevelopmentData) -> None:
    result = trained(data, crossed((0, 1, 2), training__epochs=2))
    by_seed = result.by_seed["cv/mae"]
    assert result.objective == result.metrics["cv/mae"] == pytest.approx(np.mean(by_seed))
    assert len({*by_seed}) == 3


def test_other_objectives_train_as_before(data: DevelopmentData) -> None:
    config = trial_config(SMALL, objective="id_val/mae", seeds=(0, 1))
    assert folds_for(data, config) is None
    result = trained(data, config)
    assert not any(name.startswith("cv/") for name in result.metrics)
    assert_close(trained(data, config), result)


def test_folds_that_cannot_be_made_are_refused(data: DevelopmentData) -> None:
    bare = replace(data, train=replace(data.train, samples=data.train.samples.drop("speaker")))
    with pytest.raises(InputError, match=r"'cv/mae' needs a column of .* at least 3 groups"):
        check(bare, crossed((0,)))
    with pytest.raises(InputError, match="at least 8 groups"):
        check(data, crossed((0,), training__folds=8))
    with pytest.raises(InputError, match="'swad' stops by a split that all seeds share"):
        check(data, crossed((0,), training__averaging="swad"))
    with pytest.raises(InputError, match=r"training.folds has no effect with the objective"):
        trial_config({**SMALL, "training.folds": 4}, objective="ood_val/mae")
