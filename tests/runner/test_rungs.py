from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler

from cmir.runner.rungs import Rungs
from cmir.space.space_file import EarlyStopping

SETTINGS = EarlyStopping(grace=2, reduction=2.0)
Ends = dict[int, int]


def ends_by_rungs(curves: np.ndarray, settings: EarlyStopping, order: list[int]) -> Ends:
    """Curve to the epoch after which it ended, where they run one pack of one at a time."""
    epochs = curves.shape[1]
    rungs = Rungs(epochs, settings)
    reached = dict.fromkeys(range(len(curves)), 0)
    stopped: set[int] = set()
    for number in order:
        if number not in stopped:
            reached[number] += 1
            epoch = reached[number]
            if rungs.judge(epoch, {number: curves[number, epoch - 1]}):
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
def test_packs_of_one_end_where_they_do_with_the_scheduler_of_ray(
    grace: int, reduction: float
) -> None:
    rng = np.random.default_rng([grace, int(10 * reduction)])
    curves = np.maximum.accumulate(rng.normal(size=(60, 20)), axis=1).round(1)  # With ties.
    order = rng.permutation(np.repeat(np.arange(60), 20)).tolist()
    settings = EarlyStopping(grace=grace, reduction=reduction)
    ends = ends_by_rungs(curves, settings, order)
    assert ends == ends_by_ray(curves, settings, order)
    assert len(set(ends.values())) > 2


def test_the_members_of_a_pack_compete_with_each_other_whatever_their_order() -> None:
    scores = {7: 0.1, 3: 0.9, 5: 0.4, 1: 0.6}
    for order in ([7, 3, 5, 1], [3, 1, 5, 7]):
        rungs = Rungs(8, SETTINGS)
        assert rungs.judge(1, {n: scores[n] for n in order}) == []
        assert sorted(rungs.judge(2, {n: scores[n] for n in order})) == [5, 7]


def test_each_member_is_judged_by_the_quantile_of_all_others() -> None:
    rng = np.random.default_rng(0)
    rungs, held = Rungs(8, EarlyStopping(grace=2, reduction=3.0)), np.empty(0)
    for _ in range(20):
        scores = rng.normal(size=5).round(1)
        held = np.concatenate([held, scores])
        expected = []
        for place, score in enumerate(scores):
            others = np.delete(held, len(held) - 5 + place)
            if score < np.percentile(others, 100 * (1 - 1 / 3)):
                expected.append(place)
        assert rungs.judge(2, dict(enumerate(scores.tolist()))) == expected


def test_a_later_pack_competes_with_an_earlier_one() -> None:
    rungs = Rungs(8, SETTINGS)
    rungs.judge(2, {0: 1.0, 1: 2.0})
    assert rungs.judge(2, {2: 0.0}) == [2]
    assert rungs.judge(2, {3: 3.0}) == []


def test_earlier_configurations_count_as_if_they_had_run_now_at_rungs_that_they_reached() -> None:
    rungs = Rungs(8, SETTINGS)
    rungs.replay([0.5, 1.0, 1.0])
    assert rungs.judge(4, {0: 0.0}) == []
    assert rungs.judge(2, {1: 0.0}) == [1]
    assert rungs.judge(2, {2: 2.0}) == []


@pytest.mark.parametrize("epoch", [1, 2, 4, 7, 8])
def test_nothing_stops_when_early_stopping_is_off(epoch: int) -> None:
    rungs = Rungs(8, EarlyStopping(enabled=False))
    assert rungs.judge(epoch, {0: 1.0, 1: 0.0}) == []


def test_grace_beyond_the_last_epoch_stops_nothing() -> None:
    rungs = Rungs(3, EarlyStopping(grace=5))
    assert [rungs.judge(epoch, {0: 1.0, 1: 0.0}) for epoch in (1, 2, 3)] == [[], [], []]
