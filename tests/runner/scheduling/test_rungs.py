from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler

from cmir.runner.scheduling.rungs import Rungs
from cmir.space.space_file import EarlyStopping

SETTINGS = EarlyStopping(grace=2, reduction=2.0)
Ends = dict[int, int]


def ends_by_rungs(curves: np.ndarray, settings: EarlyStopping, order: list[int]) -> Ends:
    """Curve to the epoch after which it ended, where they run one at a time."""
    epochs = curves.shape[1]
    rungs = Rungs(epochs, settings)
    reached = dict.fromkeys(range(len(curves)), 0)
    stopped: set[int] = set()
    for number in order:
        if number not in stopped:
            reached[number] += 1
            epoch = reached[number]
            if rungs.lags(epoch, curves[number, epoch - 1]):
                stopped.add(number)
    return reached


def ends_by_ray(curves: np.ndarray, settings: EarlyStopping, order: list[int]) -> Ends:
    """The same with Ray Tune's scheduler."""
    asha = AsyncHyperBandScheduler(
        time_attr="epoch",
        metric="score",
        mode="max",
        max_t=curves.shape[1],
        grace_period=settings.grace,
        reduction_factor=settings.reduction,
    )
    controller: Any = None
    trials: list[Any] = [SimpleNamespace(trial_id=str(n)) for n in range(len(curves))]
    for trial in trials:
        asha.on_trial_add(controller, trial)
    reached = dict.fromkeys(range(len(curves)), 0)
    stopped: set[int] = set()
    for number in order:
        if number not in stopped:
            reached[number] += 1
            row = {"epoch": reached[number], "score": curves[number, reached[number] - 1]}
            if asha.on_trial_result(controller, trials[number], row) == "STOP":
                stopped.add(number)
    return reached


@pytest.mark.parametrize("reduction", [2.0, 2.5, 3.0, 4.0])
@pytest.mark.parametrize("grace", [1, 3])
def test_trials_end_where_they_do_with_the_scheduler_of_ray(grace: int, reduction: float) -> None:
    rng = np.random.default_rng([grace, int(10 * reduction)])
    curves = np.maximum.accumulate(rng.normal(size=(60, 20)), axis=1).round(1)  # With ties.
    order = rng.permutation(np.repeat(np.arange(60), 20)).tolist()
    settings = EarlyStopping(grace=grace, reduction=reduction)
    ends = ends_by_rungs(curves, settings, order)
    assert ends == ends_by_ray(curves, settings, order)
    assert len(set(ends.values())) > 2


def test_each_trial_is_judged_by_the_quantile_of_all_others_so_far() -> None:
    rng = np.random.default_rng(0)
    rungs, held = Rungs(8, EarlyStopping(grace=2, reduction=3.0)), list[float]()
    for score in rng.normal(size=100).round(1).tolist():
        expected = bool(held) and score < np.percentile(held, 100 * (1 - 1 / 3))
        assert rungs.lags(2, score) == expected
        held.append(score)


def test_earlier_configurations_count_as_if_they_had_run_now_at_rungs_that_they_reached() -> None:
    rungs = Rungs(8, SETTINGS)
    rungs.replay([0.5, 1.0, 1.0])
    assert not rungs.lags(4, 0.0)
    assert rungs.lags(2, 0.0)
    assert not rungs.lags(2, 2.0)


@pytest.mark.parametrize("epoch", [1, 2, 4, 7, 8])
def test_nothing_stops_when_early_stopping_is_off(epoch: int) -> None:
    rungs = Rungs(8, EarlyStopping(enabled=False))
    assert [rungs.lags(epoch, score) for score in (1.0, 0.0)] == [False, False]


def test_grace_beyond_the_last_epoch_stops_nothing() -> None:
    rungs = Rungs(3, EarlyStopping(grace=5))
    assert not any(rungs.lags(epoch, score) for epoch in (1, 2, 3) for score in (1.0, 0.0))
