"""Parallel coordinates: which settings, where a line passes them, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from cmir.sweep.parallel_coordinates import MOST_LINES, UNUSED, parallel_coordinates
from tests.support.small_records import random_sweep, record

MAE = "ood_val/mae"


def lines(axes: Axes) -> list[list[np.ndarray]]:
    """Of the trials that are neither best nor first, of the best, of the first."""
    found = [one for one in axes.collections if isinstance(one, LineCollection)]
    return [[np.asarray(path)[:, 1] for path in one.get_segments()] for one in found[:3]]


def test_the_setting_that_decides_stands_first_and_the_objective_last() -> None:
    (axes,) = parallel_coordinates(random_sweep(80), MAE).axes
    names = [tick.get_text().replace(".\n", ".") for tick in axes.get_xticklabels()]
    assert names[0] == "loss.invariance"
    assert names[-1] == f"{MAE}\n(by rank)"


def test_a_line_passes_below_the_settings_that_its_trial_does_not_have() -> None:
    records = [
        record(0, 0.5, params={"a.kind": "x", "a.rate": 0.2}),
        record(1, 0.6, params={"a.kind": "x", "a.rate": 0.8}),
        record(2, 0.7, params={"a.kind": "y"}),
    ]
    (axes,) = parallel_coordinates(records, MAE).axes
    rest, _, (first,) = lines(axes)
    np.testing.assert_allclose(first, [0.0, 0.0, 1.0])
    np.testing.assert_allclose(rest[-1], [1.0, UNUSED, 0.0])


def test_numbers_of_many_sizes_stand_on_a_log_scale() -> None:
    records = [record(n, 0.5 + n, params={"a.b": 10.0**n}) for n in range(5)]
    (axes,) = parallel_coordinates(records, MAE).axes
    heights = [line[0] for part in lines(axes) for line in part]
    assert sorted(heights) == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])


def test_a_constant_setting_is_no_axis() -> None:
    records = [record(n, 0.5 + n, params={"a.b": 3, "a.c": n}) for n in range(3)]
    (axes,) = parallel_coordinates(records, MAE).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()][:-1] == ["a.\nc"]


def test_of_a_crowd_some_lines_stand_for_all() -> None:
    (axes,) = parallel_coordinates(random_sweep(3000), MAE).axes
    assert len(lines(axes)[0]) == MOST_LINES
