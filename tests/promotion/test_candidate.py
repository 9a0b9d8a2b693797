"""The shortlist, trained again with fresh seeds."""

from __future__ import annotations

from typing import Any

import pytest

from cmir.data import DevelopmentData, load_dataset
from cmir.promotion.candidate import (
    Candidate,
    again,
    candidate_of,
    fresh_seeds,
    seeds_of,
    winner_of,
)
from cmir.promotion.selection import Ranking
from cmir.promotion.trainings import LocalTrainings
from tests.support.made_data.learning_data import SMALL, write_learning
from tests.support.small_promotion import record

KEYS = {key.replace(".", "__"): value for key, value in SMALL.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    return load_dataset(write_learning(tmp_path_factory.mktemp("data") / "d")).development()


MAE, CORR = (Ranking("ood_val", (f"ood_val/{name}",)) for name in ("mae", "corr"))


def trained_again(data: DevelopmentData, number: int = 0, **config: Any) -> Candidate:
    chosen = record(number, {}, **{**KEYS, "training__epochs": 2, **config})
    (training,) = LocalTrainings(data).train(again([chosen], (1000, 1001))).values()
    return candidate_of(chosen, training)


def test_fresh_seeds_are_disjoint_from_all_seeds_of_the_sweep() -> None:
    records = [record(0, {}, seeds=[0, 1]), record(1, {}, seeds=[1000, 1002])]
    assert seeds_of(records) == {0, 1, 1000, 1002}
    assert fresh_seeds(seeds_of(records), 4) == (1001, 1003, 1004, 1005)


def test_the_fresh_seeds_are_what_is_trained(data: DevelopmentData) -> None:
    candidate = trained_again(data)
    assert candidate.result is not None
    assert candidate.result.config.seeds == (1000, 1001)
    assert len(candidate.result.weights) == 2


def test_a_candidate_that_diverges_is_told_and_never_wins(data: DevelopmentData) -> None:
    bad = trained_again(data, number=7, training__learning_rate=1e30)
    assert bad.result is None
    assert bad.fault.startswith("trial 7: ")
    assert bad.score("ood_val/mae") is None
    good = trained_again(data)
    assert winner_of([bad, good], MAE) is good
    assert winner_of([bad], MAE) is None


def test_the_winner_is_best_over_the_fresh_seeds(data: DevelopmentData) -> None:
    candidates = [trained_again(data, n, training__learning_rate=10.0**-n) for n in (2, 4)]
    errors = [candidate.score("ood_val/mae") or 0.0 for candidate in candidates]
    assert winner_of(candidates, MAE) is candidates[errors.index(min(errors))]
    corrs = [candidate.score("ood_val/corr") or 0.0 for candidate in candidates]
    assert winner_of(candidates, CORR) is candidates[corrs.index(max(corrs))]
