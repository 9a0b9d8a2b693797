"""Learning curves: the best trials, their values by epoch, and the epoch that each seed kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cmir.runner.studies.records import TrialRecord
from cmir.sweep.learning_curves import MOST_CURVES, learning_curves
from tests.support.small_records import record

MAE = "ood_val/mae"


def learned(number: int, value: float, outcome: str = "finished") -> TrialRecord:
    one = record(number, value, outcome)  # type: ignore[arg-type]
    ending = replace(
        one.ending,
        curve={MAE: [value + 0.3, value + 0.1, value]},
        by_seed={MAE: [value - 0.1, value, value + 0.1]},
        best_epochs=(1, 3, 3),
    )
    return replace(one, ending=ending)


def test_the_curves_are_those_of_the_best_trials_with_a_mark_for_each_seed() -> None:
    records = [learned(n, 0.5 + n / 10) for n in range(7)]
    (axes,) = learning_curves(records, MAE).axes
    curves, marks = axes.get_lines()[::2], axes.get_lines()[1::2]
    assert len(curves) == MOST_CURVES
    np.testing.assert_allclose(np.asarray(curves[0].get_ydata()), [0.8, 0.6, 0.5])
    assert list(np.asarray(marks[0].get_xdata())) == [1, 3, 3]
    assert axes.get_legend_handles_labels()[1][0] == "trial 0, none: 0.5"


def test_pruned_trials_and_records_without_a_curve_are_left_out() -> None:
    (axes,) = learning_curves([learned(0, 0.5, "pruned"), record(1, 0.4)], MAE).axes
    assert "No trial with a curve" in axes.texts[0].get_text()
