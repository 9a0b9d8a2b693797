"""Gates: pure functions from evidence on development data to verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from learning_data import write_learning

from cmir.data import load_dataset
from cmir.promotion.gates import (
    Champion,
    better_than_constant,
    constant_score,
    enough_seeds,
    enough_trials,
    not_worse_than_champion,
    ood_metric,
    trained_through,
)
from cmir.sweep.sweep_file import Gates

HELD = Champion("4", "same", {"ood_val/mae": 1.0, "ood_val/corr": 0.5})


def test_trials_and_seeds_must_reach_what_the_sweep_file_asks_for() -> None:
    gates = Gates(finished_trials=5, seeds=3)
    assert [enough_trials(number, gates).passed for number in (4, 5, 6)] == [False, True, True]
    assert [enough_seeds(number, gates).passed for number in (2, 3, 4)] == [False, True, True]


def test_one_candidate_that_trained_is_enough_and_faults_are_told() -> None:
    verdict = trained_through(["trial 3: diverged", ""])
    assert verdict.passed
    assert verdict.measured == "1 of 2 (trial 3: diverged)"
    assert not trained_through(["trial 3: diverged"]).passed


def test_a_sweep_without_candidates_does_not_pass() -> None:
    assert not trained_through([]).passed


@pytest.mark.parametrize(
    ("metric", "score", "passed"),
    [
        ("ood_val/mae", 0.99, True),
        ("ood_val/mae", 1.0, False),
        ("ood_val/mae", 1.01, False),
        ("ood_val/corr", 1.01, True),
        ("ood_val/corr", 1.0, False),
        ("ood_val/corr", 0.99, False),
        ("ood_val/mae", float("nan"), False),
    ],
)
def test_a_candidate_must_beat_the_constant_in_the_metrics_own_direction(
    metric: str, score: float, passed: bool
) -> None:
    assert better_than_constant(score, 1.0, metric).passed is passed


@pytest.mark.parametrize(
    ("metric", "score", "margin", "passed"),
    [
        ("ood_val/mae", 1.0, 0.0, True),
        ("ood_val/mae", 1.001, 0.0, False),
        ("ood_val/mae", 1.001, 0.01, True),
        ("ood_val/mae", 1.02, 0.01, False),
        ("ood_val/corr", 0.5, 0.0, True),
        ("ood_val/corr", 0.49, 0.0, False),
        ("ood_val/corr", 0.49, 0.02, True),
    ],
)
def test_a_candidate_may_be_worse_than_the_champion_by_the_margin(
    metric: str, score: float, margin: float, passed: bool
) -> None:
    gates = Gates(champion_margin=margin)
    assert not_worse_than_champion(score, metric, HELD, "same", gates).passed is passed


@pytest.mark.parametrize(
    ("champion", "checksum", "metric", "told"),
    [
        (None, "same", "ood_val/mae", "no champion yet"),
        (HELD, "other", "ood_val/mae", "version 4: other data"),
        (HELD, "same", "ood_val/acc7", "version 4: not scored"),
    ],
)
def test_what_cannot_be_compared_passes_and_says_why(
    champion: Champion | None, checksum: str, metric: str, told: str
) -> None:
    verdict = not_worse_than_champion(99.0, metric, champion, checksum, Gates())
    assert verdict.passed
    assert verdict.required == told


def test_the_constant_of_a_regression_is_the_training_median(tmp_path: Path) -> None:
    data = load_dataset(write_learning(tmp_path / "data")).development()
    median = np.median(data.train.labels.astype(np.float64))
    errors = [abs(float(label) - median) for label in data.ood_val.labels]
    assert constant_score(data, "ood_val/mae") == pytest.approx(sum(errors) / len(errors))
    assert constant_score(data, "ood_val/corr") == 0.0


def test_the_constant_of_a_binary_task_is_the_training_majority(tmp_path: Path) -> None:
    data = load_dataset(write_learning(tmp_path / "data", task="binary")).development()
    majority = data.train.labels.mean() > 0.5
    share = np.mean(data.ood_val.labels == majority)
    assert constant_score(data, "ood_val/accuracy") == pytest.approx(share)
    prior = data.train.labels.mean()
    brier = np.mean((data.ood_val.labels - prior) ** 2)
    assert constant_score(data, "ood_val/brier") == pytest.approx(brier, rel=1e-5)


def test_gates_look_out_of_distribution_whatever_split_the_objective_was_on() -> None:
    assert ood_metric("id_val/corr") == "ood_val/corr"
