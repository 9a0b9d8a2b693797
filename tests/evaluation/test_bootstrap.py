"""Draws of seeds and groups, and metrics on them, against spelled-out loops."""

from __future__ import annotations

import numpy as np
import pytest

from cmir.data.task import SENTIMENT
from cmir.evaluation.bootstrap import Measure, draw_groups, draw_seeds
from cmir.metrics.field_metrics import regression_metrics_by_replica


@pytest.mark.parametrize("metric", ["mae", "acc7", "acc2_non0", "corr", "f1_has0"])
@pytest.mark.parametrize("items", [False, True])
def test_a_metric_on_draws_is_that_of_the_drawn_samples(metric: str, items: bool) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(-3, 4, 30).astype(float)
    scores = labels + rng.normal(size=(4, 30))
    groups = np.repeat(np.arange(5), 6)
    counts = draw_groups(groups, 8, items, rng)
    unit = np.arange(30) if items else groups
    found = Measure(scores, labels, metric, SENTIMENT).on_draws(counts, unit)
    for draw, row in zip(found, counts, strict=True):
        chosen = [item for item in range(30) for _ in range(row[unit[item]])]
        wanted = regression_metrics_by_replica(scores[:, chosen], labels[chosen])[metric]
        assert draw == pytest.approx(wanted)


def test_a_draw_has_one_group_less_than_there_are() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2, 3])
    counts = draw_groups(groups, 500, False, np.random.default_rng(0))
    assert (counts.sum(axis=1) == 3).all()
    assert counts.mean(axis=0) == pytest.approx(3 / 4, abs=0.1)


def test_items_are_drawn_within_the_groups_that_are_drawn() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2, 3])
    counts = draw_groups(groups, 500, True, np.random.default_rng(0))
    by_group = np.stack([counts[:, groups == group].sum(axis=1) for group in range(4)], axis=1)
    taken = by_group / np.array([2, 1, 3, 1])
    assert (taken == taken.round()).all()
    assert (taken.sum(axis=1) == 3).all()
    assert counts.mean(axis=0) == pytest.approx(3 / 4, abs=0.15)


def test_weights_of_seeds_sum_to_one_and_one_seed_has_it_all() -> None:
    weights = draw_seeds(5, 300, np.random.default_rng(0))
    assert weights.sum(axis=1) == pytest.approx(1.0)
    assert weights.max() <= 1
    assert (draw_seeds(1, 4, np.random.default_rng(0)) == 1).all()
