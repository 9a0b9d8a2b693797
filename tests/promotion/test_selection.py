"""Rules of selection: pure functions over a sweep's records."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import pytest

from cmir.data.task import SENTIMENT, Task
from cmir.errors import InputError
from cmir.promotion.selection import RULES, best_first, check_measured, ranking_of
from cmir.runner.studies.records import Ending, Outcome, TrialRecord
from tests.support.small_promotion import record

PAIR = ["ood_val/mae", "split/leak"]


def ranked(records: list[TrialRecord], rule: str = "", pair: bool = False) -> list[TrialRecord]:
    return ranking_of(rule, PAIR if pair else PAIR[:1], SENTIMENT).best_first(records)


def numbers(records: list[TrialRecord]) -> list[int]:
    return [one.number for one in records]


def test_each_rule_ranks_by_its_own_metric() -> None:
    first = {"ood_val/mae": 1.0, "id_val/mae": 3.0, "ood_val/worst_environment_mae": 2.0}
    second = {"ood_val/mae": 2.0, "id_val/mae": 1.0, "ood_val/worst_environment_mae": 3.0}
    third = {"ood_val/mae": 3.0, "id_val/mae": 2.0, "ood_val/worst_environment_mae": 1.0}
    records = [record(1, first), record(2, second), record(3, third)]
    assert numbers(ranked(records, "ood_val")) == [1, 2, 3]
    assert numbers(ranked(records, "id_val")) == [2, 3, 1]
    assert numbers(ranked(records, "worst_environment")) == [3, 1, 2]


@pytest.mark.parametrize(
    ("rule", "objective", "task", "metric"),
    [
        ("ood_val", "ood_val/corr", SENTIMENT, "ood_val/corr"),
        ("ood_val", "id_val/mae", SENTIMENT, "ood_val/mae"),
        ("id_val", "ood_val/f1", Task("binary"), "id_val/f1"),
        ("worst_environment", "ood_val/f1", Task("binary"), "ood_val/worst_environment_accuracy"),
        ("worst_environment", "ood_val/corr", SENTIMENT, "ood_val/worst_environment_mae"),
    ],
)
def test_a_rule_keeps_the_metric_of_the_objective(
    rule: str, objective: str, task: Task, metric: str
) -> None:
    assert ranking_of(rule, [objective], task).metric == metric


def test_no_rule_names_a_held_out_split() -> None:
    for rule in RULES:
        for task in (SENTIMENT, Task("binary")):
            looked_at = ranking_of(rule, PAIR, task).metrics
            assert not any("test" in metric for metric in looked_at)


def test_larger_is_better_where_the_metric_says_so() -> None:
    records = [record(1, {"ood_val/corr": 0.1}), record(2, {"ood_val/corr": 0.9})]
    assert numbers(best_first(records, "ood_val/corr")) == [2, 1]


def test_equal_trials_stay_in_the_order_of_their_numbers() -> None:
    records = [record(number, {"ood_val/mae": 1.0}) for number in (7, 3, 5)]
    assert numbers(best_first(records, "ood_val/mae")) == [3, 5, 7]


@pytest.mark.parametrize("metric", ["ood_val/mae", "ood_val/corr"])
def test_a_trial_without_a_value_comes_last(metric: str) -> None:
    records = [record(1, {metric: math.nan}), record(2, {}), record(3, {metric: 0.5})]
    assert numbers(best_first(records, metric)) == [3, 1, 2]


@pytest.mark.parametrize("outcome", [name for name in get_args(Outcome) if name != "finished"])
def test_only_finished_trials_are_ranked(outcome: Outcome) -> None:
    stopped = replace(record(1, {}), ending=Ending(outcome, 0.1, {"ood_val/mae": 0.1}))
    assert numbers(best_first([stopped, record(2, {"ood_val/mae": 1.0})], "ood_val/mae")) == [2]


def test_a_configuration_that_was_tried_twice_takes_one_place() -> None:
    same = {"training__learning_rate": 0.01}
    records = [
        record(1, {"ood_val/mae": 1.2}, **same),
        record(2, {"ood_val/mae": 1.1}, **same, seeds=[5, 6]),
        record(3, {"ood_val/mae": 1.3}),
    ]
    assert numbers(best_first(records, "ood_val/mae")) == [2, 3]


def test_a_sweep_without_trials_has_no_best() -> None:
    assert ranked([], "ood_val") == []


def test_an_unknown_rule_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'ood_vall' is no rule.*Did you mean 'ood_val'\?"):
        ranking_of("ood_vall", ["ood_val/mae"], SENTIMENT)
    with pytest.raises(InputError, match="Known: ood_val, id_val, worst_environment"):
        ranking_of("oracle", ["ood_val/mae"], SENTIMENT)


def scored(number: int, error: float, leak: float, spread: float = 0.02) -> TrialRecord:
    return record(number, dict(zip([*PAIR, f"{PAIR[0]}_std"], (error, leak, spread), strict=True)))


def test_of_a_pair_the_second_decides_among_trials_that_are_as_good_as_the_best() -> None:
    # Two seeds: the standard error is .014.
    records = [scored(1, 0.80, 0.5), scored(2, 0.81, 0.1), scored(3, 0.85, 0.0), scored(4, 0.9, 0)]
    assert numbers(ranked(records, pair=True)) == [2, 1, 3, 4]
    assert numbers(ranked(records, "knee", pair=True)) == [2, 1, 3, 4]
    assert numbers(ranked(records, "ood_val", pair=True)) == [1, 2, 3, 4]


def test_a_trial_without_a_second_value_comes_last() -> None:
    records = [record(1, {PAIR[0]: 0.1}), scored(2, 0.8, 0.5), scored(3, 0.8, math.nan)]
    assert numbers(ranked(records, pair=True)) == [2, 1, 3]


def test_a_rule_for_pairs_is_refused_for_one_objective() -> None:
    with pytest.raises(InputError, match="'within_error' needs a sweep with a pair of objectives"):
        ranked([], "within_error")


def test_the_mean_rank_takes_who_is_good_at_both() -> None:
    keys = ["id_val/mae", "unlabelled/disagreement"]
    values = [(0.5, 0.9), (0.6, 0.2), (0.7, 0.1), (0.9, 0.3), (0.4, math.nan)]
    records = [record(n, dict(zip(keys, one, strict=True))) for n, one in enumerate(values)]
    # Mean ranks 2.5, 2, 2, 3.5; equals stay in the order of their numbers.
    assert numbers(ranked(records, "mean_rank")) == [1, 2, 0, 3, 4]
    assert ranking_of("mean_rank", ["cv/mae"], SENTIMENT).metrics == ("cv/mae", keys[1])


def test_the_usual_rule_follows_from_the_objectives() -> None:
    usual = {("ood_val/mae",): "ood_val", ("cv/mae",): "cv", tuple(PAIR): "within_error"}
    for objectives, rule in usual.items():
        assert ranking_of("", objectives, SENTIMENT).rule == rule


@pytest.mark.parametrize(
    ("rule", "remedy"),
    [("disagreement", r"`measures: \[unlabelled/disagreement\]`"), ("cv", "`objective: cv/mae`")],
)
def test_a_rule_that_looks_at_what_was_not_measured_is_refused(rule: str, remedy: str) -> None:
    ranking = ranking_of(rule, ["ood_val/mae"], SENTIMENT)
    with pytest.raises(InputError, match=f"which no finished trial has: .*{remedy}"):
        check_measured(ranking, [record(1, {"ood_val/mae": 1.0})])
    check_measured(ranking, [record(1, {metric: 1.0 for metric in ranking.metrics})])
