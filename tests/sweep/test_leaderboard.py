"""Tables of a sweep: order, columns that stay the same, the Pareto front, schemes compared."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from cmir.errors import InputError
from cmir.sweep.leaderboard import (
    best_trial,
    is_lower_better,
    leaderboard,
    pareto_front,
    schemes_compared,
)
from tests.support.small_records import random_sweep, record, scored

MAE = "ood_val/mae"
FIXED_COLUMNS = ["rank", "trial", "outcome", "scheme", MAE, f"{MAE}_std", "id_val/mae"]


def test_finished_trials_come_first_by_objective_then_pruned_diverged_failed() -> None:
    records = [
        record(0, None, "failed"),
        record(1, 0.5, "pruned"),
        record(2, 0.9),
        record(3, None, "diverged"),
        record(4, 0.7),
        record(5, 0.4, "pruned"),
    ]
    table = leaderboard(records, MAE)
    assert table["trial"].to_list() == [4, 2, 5, 1, 3, 0]
    assert table["rank"].to_list() == [1, 2, None, None, None, None]


def test_a_metric_of_which_more_is_better_turns_the_order_round() -> None:
    records = [record(0, 0.2), record(1, 0.6), record(2, 0.4)]
    assert leaderboard(records, "ood_val/corr")["trial"].to_list() == [1, 2, 0]
    assert leaderboard(records, MAE)["trial"].to_list() == [0, 2, 1]


def test_equal_objectives_are_ranked_by_number() -> None:
    assert leaderboard([record(3), record(1), record(2)], MAE)["trial"].to_list() == [1, 2, 3]


def test_a_row_says_what_the_trial_was_and_what_it_reached() -> None:
    metrics = {MAE: 0.8, f"{MAE}_std": 0.03, "id_val/mae": 0.6, "train/mae": 0.1}
    params = {"loss.invariance": 0.1, "environments.view": "swap"}
    trial = record(7, 0.8, params=params, metrics=metrics, scheme="swap")
    assert leaderboard([trial], MAE).row(0, named=True) == {
        "rank": 1,
        "trial": 7,
        "outcome": "finished",
        "scheme": "swap",
        MAE: 0.8,
        f"{MAE}_std": 0.03,
        "id_val/mae": 0.6,
        "environments.view": "swap",
        "loss.invariance": 0.1,
        "seconds": 1.5,
        "best_epoch": 4.0,
    }


def test_the_main_metric_stands_beside_another_objective() -> None:
    regression = [scored(0, 0.6, 0.8)]
    assert {"id_val/mae", MAE, "ood_val/corr"} <= set(
        leaderboard(regression, "ood_val/corr").columns
    )
    classes = leaderboard([scored(0, 0.9, 0.8, "accuracy")], "ood_val/auc")
    assert classes["id_val/accuracy"].to_list() == [0.9]


def test_f1_belongs_to_the_task_whose_metrics_are_there() -> None:
    assert "id_val/mae" in leaderboard([scored(0, 0.6, 0.8)], "ood_val/f1").columns
    classes = leaderboard([scored(0, 0.9, 0.8, "accuracy")], "ood_val/f1")
    assert "id_val/accuracy" in classes.columns


def test_a_parameter_is_null_where_its_condition_did_not_hold() -> None:
    records = [record(0, 0.5, params={"environments.count": 3}), record(1, 0.6)]
    assert leaderboard(records, MAE)["environments.count"].to_list() == [3, None]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], pl.Int64),
        ([1, 0.5], pl.Float64),
        ([True, False], pl.Boolean),
        (["a", "b"], pl.String),
        (["a", 2], pl.String),
        ([True, 2], pl.String),
    ],
)
def test_a_parameter_has_the_type_of_its_values(
    values: list[object], kind: type[pl.DataType]
) -> None:
    records = [record(n, params={"a.b": value}) for n, value in enumerate(values)]
    assert leaderboard(records, MAE).schema["a.b"] == kind


def test_an_empty_sweep_has_the_columns_of_a_full_one() -> None:
    empty, full = leaderboard([], MAE), leaderboard([scored(0, 0.6, 0.8)], MAE)
    assert empty.schema == full.schema
    assert empty.columns == [*FIXED_COLUMNS, "seconds", "best_epoch"]
    assert len(empty) == 0


def test_a_sweep_without_a_finished_trial_has_the_columns_of_one_with_them() -> None:
    records = random_sweep(40)
    lost = [record(r.number, None, "failed", params=r.params) for r in records]
    assert leaderboard(lost, MAE).schema == leaderboard(records, MAE).schema
    assert leaderboard(lost, MAE)["rank"].null_count() == 40


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_finished_trial_without_a_usable_objective_is_not_ranked(value: float | None) -> None:
    table = leaderboard([record(0, value), record(1, 2.0), record(2, 0.1, "pruned")], MAE)
    assert table["trial"].to_list() == [1, 0, 2]
    assert table["rank"].to_list() == [1, None, None]
    assert table[MAE].to_list() == [2.0, None, 0.1]


def test_the_table_survives_parquet_and_csv(tmp_path: Path) -> None:
    table = leaderboard(random_sweep(30), MAE)
    table.write_parquet(tmp_path / "table.parquet")
    table.write_csv(tmp_path / "table.csv")
    assert pl.read_parquet(tmp_path / "table.parquet").equals(table)
    assert pl.read_csv(tmp_path / "table.csv", schema=table.schema)["trial"].equals(table["trial"])


def test_the_front_holds_what_no_trial_beats_on_both_sides() -> None:
    records = [
        scored(0, 0.50, 0.95),
        scored(1, 0.55, 0.90),
        scored(2, 0.60, 0.92),
        scored(3, 0.70, 0.80),
        scored(4, 0.50, 0.99),
    ]
    assert pareto_front(records, MAE) == [0, 1, 3]


def test_the_front_of_a_metric_of_which_more_is_better_lies_on_the_other_side() -> None:
    records = [
        scored(0, 0.5, 0.9, "corr"),
        scored(1, 0.6, 0.8, "corr"),
        scored(2, 0.4, 0.7, "corr"),
    ]
    assert pareto_front(records, "ood_val/corr") == [1, 0]


def test_the_front_agrees_with_a_spelled_out_loop() -> None:
    records = random_sweep(120)
    points = {
        r.number: (r.ending.metrics["id_val/mae"], r.ending.metrics[MAE])
        for r in records
        if r.outcome == "finished"
    }
    expected = set()
    for number, (inside, outside) in points.items():
        beaten = False
        for other in points.values():
            if other[0] <= inside and other[1] <= outside and other != (inside, outside):
                beaten = True
        if not beaten:
            expected.add(number)
    assert set(pareto_front(records, MAE)) == expected


def test_trials_with_equal_scores_stay_on_the_front_together() -> None:
    assert pareto_front([scored(1, 0.5, 0.9), scored(0, 0.5, 0.9)], MAE) == [0, 1]


def test_only_finished_trials_with_both_scores_are_on_the_front() -> None:
    pruned = record(1, 0.1, "pruned", metrics={"id_val/mae": 0.1, MAE: 0.1})
    one_sided = record(2, 0.2, metrics={MAE: 0.2})
    undefined = scored(3, math.nan, 0.1)
    assert pareto_front([scored(0, 0.5, 0.9), pruned, one_sided, undefined], MAE) == [0]
    assert pareto_front([], MAE) == []


def test_schemes_are_compared_by_their_finished_trials() -> None:
    records = [
        record(0, 0.9),
        record(1, 0.7, scheme="swap"),
        record(2, 0.8, scheme="swap"),
        record(3, 1.2, scheme="swap"),
        record(4, 0.1, "pruned", scheme="swap"),
        record(5, None, "diverged", scheme="erase"),
    ]
    assert schemes_compared(records, MAE).rows() == [
        ("swap", 4, 3, 0.7, 0.8),
        ("none", 1, 1, 0.9, 0.9),
        ("erase", 1, 0, None, None),
    ]


def test_the_best_scheme_follows_the_direction_of_the_metric() -> None:
    records = [record(0, 0.9), record(1, 0.7, scheme="swap"), record(2, 0.95, scheme="swap")]
    assert schemes_compared(records, "ood_val/corr")["best"].to_list() == [0.95, 0.9]
    assert schemes_compared(records, MAE)["best"].to_list() == [0.7, 0.9]


def test_schemes_of_an_empty_sweep_are_a_table_with_the_same_columns() -> None:
    assert schemes_compared([], MAE).schema == schemes_compared([record(0)], MAE).schema


def test_the_best_trial_is_the_first_of_the_leaderboard() -> None:
    records = random_sweep(50)
    best = best_trial(records, MAE)
    assert best is not None
    assert best.number == leaderboard(records, MAE)["trial"][0]
    assert best_trial([record(0, 0.1, "pruned")], MAE) is None


def test_an_unknown_metric_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="got 'mse'"):
        leaderboard([], "ood_val/mse")
    with pytest.raises(InputError, match="got 'mse'"):
        is_lower_better("ood_val/mse")
