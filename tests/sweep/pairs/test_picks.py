"""Two objectives: the front, what the rules take from it, the leaderboard, the picture."""

from __future__ import annotations

import math

import pytest

from cmir.runner.studies.records import TrialRecord
from cmir.sweep.leaderboard import leaderboard
from cmir.sweep.pairs.front_plot import front_of_both
from cmir.sweep.pairs.picks import PICKS, Point, front_of, picked, with_second
from cmir.sweep.pictures import pictures
from tests.support.small_records import record

PAIR = ("ood_val/corr", "split/leak")


def trial(number: int, first: float, second: float, spread: float = 0.0) -> TrialRecord:
    metrics = dict(zip([*PAIR, f"{PAIR[0]}_std"], (first, second, spread), strict=True))
    return record(number, first, metrics=metrics)


TRIALS = [
    trial(0, 0.9, 0.6, math.sqrt(3) * 0.05),
    trial(1, 0.86, 0.3),
    trial(2, 0.7, 0.2),
    trial(3, 0.6, 0.4),
    trial(4, 0.5, 0.0),
    record(5, 0.2, "pruned"),
    record(6, 0.9),
]


def test_the_front_goes_from_the_best_first_to_the_best_second_value() -> None:
    assert front_of(TRIALS, PAIR) == [0, 1, 2, 4]


def test_within_one_standard_error_of_the_best_the_second_decides() -> None:
    # Three seeds: the standard error of trial 0 is .05.
    assert picked(TRIALS, PAIR) == 1
    assert picked([trial(0, 0.9, 0.6), *TRIALS[1:]], PAIR) == 0


def test_the_knee_is_furthest_from_the_line_between_the_ends() -> None:
    def distance(one: TrialRecord) -> float:
        across = (0.9 - one.ending.metrics[PAIR[0]]) / 0.4
        return across + one.ending.metrics[PAIR[1]] / 0.6

    nearest = min(TRIALS[:5], key=distance)
    assert picked(TRIALS, PAIR, "knee") == nearest.number


@pytest.mark.parametrize("rule", PICKS)
def test_every_rule_orders_all_and_begins_on_the_front(rule: str) -> None:
    points = [Point(1.0, 3.0, 0.1), Point(2.0, 2.0), Point(1.05, 4.0), Point(3.0, 1.0)]
    order = PICKS[rule](points)
    assert sorted(order) == [0, 1, 2, 3]
    assert order[0] in (0, 1, 3)
    assert PICKS[rule](points[:1]) == [0]
    assert PICKS[rule]([]) == []


def test_nothing_is_picked_where_no_trial_has_both_values() -> None:
    assert picked(TRIALS[5:], PAIR) is None


def test_the_leaderboard_says_who_is_on_the_front() -> None:
    table = with_second(leaderboard(TRIALS, PAIR[0]), TRIALS, PAIR)
    assert table.columns[4:8] == [PAIR[0], f"{PAIR[0]}_std", PAIR[1], "front"]
    marks = dict(zip(table["trial"], table["front"], strict=True))
    assert marks == {0: True, 1: True, 2: True, 3: False, 4: True, 5: None, 6: None}
    assert dict(zip(table["trial"], table[PAIR[1]], strict=True))[2] == 0.2


def test_the_picture_shows_front_and_picks_and_names_the_sweep() -> None:
    drawn = dict(pictures(TRIALS, PAIR, 0, "sweep s, data d"))
    figure = drawn["pareto_front.png"]
    assert "sweep s, data d" in str(figure.get_suptitle())
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert "Pareto front (4)" in labels
    assert "within_error (default): trial 1" in labels
    assert "pareto_front.png" not in dict(pictures(TRIALS, PAIR[:1], 0, "sweep s, data d"))


def test_without_a_trial_the_picture_says_so() -> None:
    (axes,) = front_of_both([], PAIR).axes
    assert "No finished trial has both objectives." in axes.texts[0].get_text()
