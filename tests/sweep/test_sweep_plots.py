"""Pictures of a sweep: every one can be drawn from any records, and says what it shows."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cmir.runner.studies.records import TrialRecord
from cmir.sweep.pictures import PICTURES, pictures
from cmir.sweep.plot_axes import METRIC_LABEL, label_of, window_of
from cmir.sweep.sweep_plots import (
    in_against_out_of_distribution,
    objective_over_trials,
    parameter_importance,
    schemes_side_by_side,
)
from tests.support.small_records import random_sweep, record, scored

MAE = "ood_val/mae"

SWEEPS: dict[str, list[TrialRecord]] = {
    "nothing": [],
    "one finished": random_sweep(1),
    "one failed": [record(0, None, "failed")],
    "none finished": [r for r in random_sweep(40) if r.outcome != "finished"],
    "missing metrics": [record(n, 1 + n / 10, params={"a.b": n}) for n in range(12)],
    "equal": [scored(n, 0.6, 0.8) for n in range(12)],
    "many": random_sweep(500),
    "astray": [*random_sweep(30), scored(30, 50.0, 80.0)],
    "many schemes": [
        record(n, n / 10, scheme=f"v{n}", metrics={"id_val/mae": 1.0, MAE: n / 10})
        for n in range(20)
    ],
}


@pytest.fixture(scope="module")
def ten_thousand() -> list[TrialRecord]:
    return random_sweep(10_000)


def drawn(figure: Figure) -> Axes:
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    (axes,) = figure.axes
    return axes


def curve(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (line,) = [line for line in axes.get_lines() if line.get_label() == label]
    return list(np.asarray(line.get_xdata())), list(np.asarray(line.get_ydata()))


def labels(axes: Axes) -> list[str]:
    return axes.get_legend_handles_labels()[1]


def words(axes: Axes) -> str:
    texts = [text.get_text() for text in axes.texts]
    return "\n".join([axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel(), *texts])


@pytest.mark.parametrize("records", SWEEPS.values(), ids=SWEEPS.keys())
@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_can_be_drawn_from_any_records(
    name: str, records: Sequence[TrialRecord]
) -> None:
    axes = drawn(PICTURES[name](records, MAE))
    assert axes.get_title("left")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_a_metric_of_which_more_is_better_points_the_other_way(name: str) -> None:
    axes = drawn(PICTURES[name](random_sweep(40, objective="ood_val/corr"), "ood_val/corr"))
    assert "←" not in words(axes)


@pytest.mark.parametrize("metric", METRIC_LABEL)
def test_a_label_names_the_split_and_which_way_is_better(metric: str) -> None:
    label = label_of(f"id_val/{metric}")
    assert "in-distribution validation" in label
    is_low = metric in ("brier", "log_loss", "ece", "leak", "disagreement") or metric.endswith(
        "mae"
    )
    assert label.startswith("← better") if is_low else label.endswith("better →")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_ten_thousand_trials_can_be_drawn(
    name: str, ten_thousand: list[TrialRecord]
) -> None:
    assert drawn(PICTURES[name](ten_thousand, MAE)).get_title("left")


def test_a_crowd_is_drawn_small_and_see_through(ten_thousand: list[TrialRecord]) -> None:
    def points(records: list[TrialRecord]) -> Line2D:
        axes = drawn(objective_over_trials(records, MAE))
        return next(line for line in axes.get_lines() if str(line.get_label())[:8] == "finished")

    few, many = points(random_sweep(200)), points(ten_thousand)
    assert many.get_markersize() < few.get_markersize()
    assert (few.get_alpha(), many.get_alpha()) == (1.0, 0.5)


def test_the_line_is_the_best_finished_value_so_far() -> None:
    records = [
        record(0, 0.9),
        record(1, 0.1, "pruned"),
        record(2, 0.7),
        record(3, 0.8),
        record(4, None, "failed"),
    ]
    numbers, values = curve(drawn(objective_over_trials(records, MAE)), "best so far")
    assert numbers == [0, 2, 3, 4]
    assert values == [0.9, 0.7, 0.7, 0.7]


def test_every_trial_is_drawn_under_its_outcome() -> None:
    records = random_sweep(60)
    axes = drawn(objective_over_trials(records, MAE))
    for outcome in ("finished", "pruned", "diverged, no value", "failed, no value"):
        expected = [r.number for r in records if r.outcome == outcome.split(",")[0]]
        assert curve(axes, f"{outcome} ({len(expected)})")[0] == expected


@pytest.mark.parametrize("objective", [MAE, "ood_val/corr"])
def test_a_trial_without_a_value_stands_beyond_the_worst(objective: str) -> None:
    records = [record(0, 0.4), record(1, 0.6), record(2, None, "diverged")]
    axes = drawn(objective_over_trials(records, objective))
    (height,) = curve(axes, "diverged, no value (1)")[1]
    low, high = axes.get_ylim()
    assert 0.6 < height < high if objective == MAE else low < height < 0.4


def test_start_points_that_have_ended_are_ringed() -> None:
    axes = drawn(objective_over_trials(random_sweep(5), MAE, start_points=range(3)))
    assert curve(axes, "start point (3)")[0] == [0, 1, 2]
    axes = drawn(objective_over_trials(random_sweep(2), MAE, start_points=range(3)))
    assert curve(axes, "start point (2)")[0] == [0, 1]


def test_bars_are_the_shares_and_what_exceeds_chance_is_set_apart() -> None:
    axes = drawn(parameter_importance(random_sweep(80), MAE))
    widths = [patch.get_width() for patch in axes.patches]  # type: ignore[attr-defined]
    assert axes.get_yticklabels()[0].get_text() == f"loss.invariance   {max(widths):.0%}"
    assert {"more than by chance", "could be chance"} < set(labels(axes))


def test_too_few_finished_trials_are_said_to_be_too_few() -> None:
    axes = drawn(parameter_importance([record(n) for n in range(5)], MAE))
    assert "at least 8 finished trials" in words(axes)
    assert "5 have finished" in words(axes)


def test_the_front_is_drawn_and_its_trials_are_numbered() -> None:
    records = [scored(4, 0.5, 0.9), scored(7, 0.6, 0.8), scored(9, 0.7, 0.95)]
    axes = drawn(in_against_out_of_distribution(records, MAE))
    assert curve(axes, "Pareto front") == ([0.5, 0.6], [0.9, 0.8])
    assert curve(axes, "best ood_val/mae: trial 7") == ([0.6], [0.8])
    assert [text.get_text() for text in axes.texts] == ["4", "7"]


def test_the_axes_are_in_distribution_across_and_out_of_distribution_up() -> None:
    axes = drawn(in_against_out_of_distribution([scored(0, 0.5, 0.9)], "id_val/mae"))
    assert "in-distribution" in axes.get_xlabel()
    assert "out-of-distribution" in axes.get_ylabel()


@pytest.mark.parametrize(("outside", "is_shown"), [(0.62, True), (0.9, False)])
def test_the_line_of_no_gap_is_there_if_it_is_in_sight(outside: float, is_shown: bool) -> None:
    records = [scored(0, 0.5, outside), scored(1, 0.6, outside - 0.1)]
    axes = drawn(in_against_out_of_distribution(records, MAE))
    assert ("equal in and out" in labels(axes)) is is_shown


def test_more_schemes_than_colours_share_one() -> None:
    axes = drawn(in_against_out_of_distribution(SWEEPS["many schemes"], MAE))
    assert labels(axes)[:8] == [*(f"none + v{n} (1)" for n in range(7)), "13 other schemes (13)"]


def test_rows_are_schemes_with_their_counts_the_best_on_top() -> None:
    records = [
        record(0, 0.9),
        record(1, 0.7, scheme="swap"),
        record(2, 0.6, "pruned", scheme="swap"),
    ]
    axes = drawn(schemes_side_by_side(records, MAE))
    rows = [tick.get_text() for tick in axes.get_yticklabels()]
    assert rows == ["swap\n1 of 2 finished", "none\n1 of 1 finished"]
    low, high = sorted(axes.get_ylim())
    assert axes.get_ylim() == (high, low), "row 0 must be on top"


def test_schemes_of_which_nothing_finished_share_a_line() -> None:
    records = [record(0, 0.9), *(record(n, 0.6, "pruned", scheme=f"v{n}") for n in range(1, 16))]
    axes = drawn(schemes_side_by_side(records, MAE))
    assert len(axes.get_yticklabels()) == 1
    assert "no trial finished of: " in words(axes)
    assert ", and 3 more" in words(axes)


def test_every_picture_says_of_which_sweep_and_data_it_is() -> None:
    names = []
    for name, figure in pictures(random_sweep(30), [MAE], 2, "sweep mine on ours"):
        names.append(name)
        assert figure.get_suptitle() == "sweep mine on ours"
    assert names == [f"{name}.png" for name in PICTURES]


def test_a_trial_gone_astray_neither_hides_the_others_nor_goes_unsaid() -> None:
    values = [0.9, 1.0, 1.1, 50.0]
    window = window_of(values, MAE)
    assert window.limits[1] < 2
    assert window.beyond == 1
    axes = drawn(objective_over_trials([record(n, v) for n, v in enumerate(values)], MAE))
    assert "1 worse than shown" in words(axes)


def test_a_window_never_cuts_off_the_better_side() -> None:
    window = window_of([0.1, 1.0, 1.0, 1.0], MAE)
    assert (window.best, window.beyond) == (0.1, 0)
    window = window_of([0.9, 0.2, 0.2, -3.0], "ood_val/corr")
    assert (window.best, window.beyond) == (0.9, 1)


def test_nothing_global_is_touched() -> None:
    before = dict(mpl.rcParams)
    for draw in PICTURES.values():
        drawn(draw(random_sweep(20), MAE))
    assert dict(mpl.rcParams) == before
    program = "import sys, cmir.sweep.sweep_plots; print('matplotlib.pyplot' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"
