"""Importance of parameters: what is planted is found, and what is idle is not sold as found."""

from __future__ import annotations

import dataclasses
import math
import warnings

import optuna
import pytest
from optuna.importance import PedAnovaImportanceEvaluator

from cmir.runner.studies.records import TrialRecord
from cmir.sweep.importance import BEST_SHARE, _ranking, importance_beside_chance
from tests.support.small_records import random_sweep, record

MAE = "ood_val/mae"


def shares_of(records: list[TrialRecord], objective: str = MAE) -> dict[str, float]:
    return importance_beside_chance(records, objective)[0]


def with_param(trial: TrialRecord, key: str, value: object) -> TrialRecord:
    return dataclasses.replace(trial, params={**trial.params, key: value})


def test_the_one_parameter_that_matters_has_the_largest_share() -> None:
    shares = shares_of(random_sweep(80))
    assert next(iter(shares)) == "loss.invariance"
    assert shares["loss.invariance"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_what_matters_exceeds_chance_and_what_is_idle_mostly_does_not() -> None:
    idle = 0
    for seed in range(6):
        records = random_sweep(60, seed)
        shares, chance = importance_beside_chance(records, MAE)
        assert shares["loss.invariance"] > chance["loss.invariance"]
        idle += sum(shares[key] > chance[key] for key in shares if key != "loss.invariance")
    # 30 idle parameters, each above chance in one of twenty: more than 6 in 1 of 1000 sets.
    assert idle <= 6


def test_every_searched_parameter_is_judged_conditional_ones_too() -> None:
    records = random_sweep(60)
    searched = {key for trial in records for key in trial.params}
    assert "environments.count" in searched
    shares, chance = importance_beside_chance(records, MAE)
    assert set(shares) == searched
    assert list(chance) == sorted(searched)


def test_the_scale_of_a_number_does_not_matter() -> None:
    records = random_sweep(60)
    rescaled = [
        with_param(r, "loss.invariance", -7 + 3 * math.log(r.params["loss.invariance"]))
        for r in records
    ]
    assert shares_of(rescaled) == shares_of(records)


def test_a_number_that_is_nearly_always_the_same_gets_no_share_for_that() -> None:
    sizes = (64, 64, 64, 64, 64, 64, 150, 100)
    records = [with_param(r, "model.size", sizes[r.number % 8]) for r in random_sweep(80)]
    assert shares_of(records)["model.size"] < 0.1


def test_the_direction_of_the_metric_decides_which_trials_are_best() -> None:
    records = random_sweep(60)
    turned = [
        dataclasses.replace(r, ending=dataclasses.replace(r.ending, objective=-r.objective))
        if r.objective is not None
        else r
        for r in records
    ]
    assert shares_of(turned, "ood_val/corr") == shares_of(records)


def test_what_makes_trials_diverge_matters() -> None:
    finished = [record(n, 1 + n % 5 / 100, params={"a.rate": n, "a.b": n % 7}) for n in range(20)]
    lost = [
        record(n, None, "diverged", params={"a.rate": 100 + n, "a.b": n % 7}) for n in range(20, 40)
    ]
    shares, chance = importance_beside_chance([*finished, *lost], MAE)
    assert shares["a.rate"] > chance["a.rate"]


def test_failed_trials_do_not_count() -> None:
    records = [r for r in random_sweep(60) if r.outcome != "failed"]
    crashed = [record(100, None, "failed", params={"loss.invariance": 5.0})]
    assert shares_of([*records, *crashed]) == shares_of(records)


def test_a_constant_has_no_share() -> None:
    records = [with_param(r, "a.constant", 3) for r in random_sweep(60)]
    assert shares_of(records)["a.constant"] == 0


@pytest.mark.parametrize("trials", [0, 1, 7])
def test_too_few_finished_trials_give_nothing(trials: int) -> None:
    records = [record(n, n / 10, params={"a.b": n}) for n in range(trials)]
    records += [record(50 + n, 3.0, "pruned", params={"a.b": n}) for n in range(20)]
    assert importance_beside_chance(records, MAE) == ({}, {})


def test_eight_finished_trials_are_enough() -> None:
    records = [record(n, n / 10, params={"a.b": n}) for n in range(8)]
    assert shares_of(records) == {"a.b": 1}


@pytest.mark.parametrize(
    "records",
    [
        [record(n, 1.0, params={"a.b": n}) for n in range(20)],
        [record(n, n / 10, params={"a.b": 3}) for n in range(20)],
        [record(n, n / 10) for n in range(20)],
        [record(n, math.nan, params={"a.b": n}) for n in range(20)],
        [record(n, n / 10, params={"a.b": n} if n > 15 else {}) for n in range(20)],
    ],
    ids=[
        "equal objectives",
        "equal parameters",
        "no parameters",
        "no usable objective",
        "a parameter that no good trial has",
    ],
)
def test_where_nothing_differs_there_is_nothing_to_tell(records: list[TrialRecord]) -> None:
    assert importance_beside_chance(records, MAE) == ({}, {})


def test_choices_of_mixed_kinds_are_judged_as_choices() -> None:
    kinds = ("64", 64, True, "[1, 2]")
    records = [record(n, n % 4 + n / 100, params={"a.b": kinds[n % 4]}) for n in range(24)]
    assert shares_of(records) == {"a.b": 1}


def test_optuna_finds_the_same_divergences_in_a_study_of_its_own() -> None:
    ranking = _ranking(random_sweep(60), MAE)
    own = optuna.create_study()
    for one in ranking._study.trials:
        own.add_trial(
            optuna.trial.create_trial(params=one.params, distributions=one.distributions, value=0.0)
        )
    best = min(math.ceil(BEST_SHARE * len(ranking.losses)), ranking.finished // 2)
    quantile = (best - 0.5) / len(ranking.losses)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = evaluator.evaluate(own, target=lambda trial: float(ranking.losses[trial.number]))
    assert ranking.found == expected
