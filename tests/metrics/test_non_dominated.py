"""The Pareto front of two losses, against the definition spelled out."""

from __future__ import annotations

import numpy as np
import pytest

from cmir.metrics.non_dominated import by_layers, front


def beaten(points: np.ndarray, place: int) -> bool:
    no_worse = (points <= points[place]).all(axis=1)
    better = (points < points[place]).any(axis=1)
    return bool((no_worse & better).any())


@pytest.mark.parametrize("seed", range(5))
def test_the_front_holds_just_those_that_no_other_beats(seed: int) -> None:
    points = np.random.default_rng(seed).integers(0, 8, (60, 2)).astype(float)
    found = front(points)
    assert sorted(found) == [place for place in range(60) if not beaten(points, place)]
    assert (np.diff(points[found, 0]) >= 0).all()


def test_layers_are_fronts_without_those_before() -> None:
    points = np.random.default_rng(0).normal(size=(40, 2))
    found = by_layers(points, 40)
    assert sorted(found) == list(range(40))
    first = front(points)
    assert found[: len(first)] == first
    rest = np.setdiff1d(np.arange(40), first)
    second = rest[front(points[rest])].tolist()
    assert found[len(first) : len(first) + len(second)] == second
    assert by_layers(points, 7) == found[:7]


def test_there_is_no_front_of_nothing() -> None:
    assert front([]) == by_layers([], 3) == []
