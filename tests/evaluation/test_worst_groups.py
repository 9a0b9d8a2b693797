"""The worst group of two models: means on draws against loops, and how often intervals hold."""

from __future__ import annotations

import numpy as np
import pytest

from cmir.data.task import SENTIMENT, Task
from cmir.evaluation.worst_groups import by_group, units_within, worst_group_difference

GROUPS = np.repeat([0, 1, 2, 3], [30, 20, 25, 25])


def test_means_on_draws_are_those_of_the_drawn_units() -> None:
    rng = np.random.default_rng(0)
    groups, units = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 2, 3, 3])
    values, counts = rng.normal(size=(2, 6)), np.array([[2, 0, 1, 1], [1, 1, 0, 2]])
    found = by_group(values, counts, groups, units)
    for draw, row in enumerate(counts):
        taken = [place for place in range(6) for _ in range(row[units[place]])]
        for group in (0, 1):
            chosen = [place for place in taken if groups[place] == group]
            assert found[draw, :, group] == pytest.approx(values[:, chosen].mean(axis=1))


def test_speakers_are_resampled_within_environments_and_samples_within_speakers() -> None:
    environments, speakers = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 2, 2, 2])
    found = units_within(environments, speakers)
    assert found[0] == found[1] != found[2]
    # The second environment is one speaker: its samples are what could have been others.
    assert len(set(found[3:].tolist())) == 3


def test_the_worst_group_of_classes_is_that_of_least_accuracy() -> None:
    labels = np.tile([0.0, 1.0], 50)
    right = (2 * labels - 1)[None]
    wrong = np.where(GROUPS == 2, -right, right)
    task = Task("binary")
    units = np.arange(100)
    found = worst_group_difference(
        wrong, right, labels, GROUPS, units, task, "worst_environment_accuracy"
    )
    assert found.estimate == -1.0
    assert found.groups == 4


@pytest.mark.parametrize("gap", [0.0, 0.6])
def test_the_interval_holds_the_truth_as_often_as_it_says(gap: float) -> None:
    """A is worse by `gap` in one group; both have noise by seed and sample."""
    rng = np.random.default_rng(1)
    labels, held, runs = np.zeros(100), 0, 120
    for _ in range(runs):
        shared = rng.normal(0, 1, 100)
        level = np.where(GROUPS == 3, 6.0, 5.0)
        a, b = (
            level + shared + 0.1 * rng.normal(size=(3, 1)) + 0.5 * rng.normal(size=(3, 100))
            for _ in range(2)
        )
        a = a + gap * (GROUPS == 3)
        units = np.arange(100)
        found = worst_group_difference(
            a, b, labels, GROUPS, units, SENTIMENT, "worst_environment_mae", draws=200
        )
        held += found.low <= gap <= found.high
    assert held / runs > 0.92
