"""Gates: pure functions from evidence on development data to verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmir.data import load_dataset
from cmir.evaluation.paired_tests import Difference, minimum_detectable_effect
from cmir.promotion.comparison import GroupChange
from cmir.promotion.gates import (
    HeldChampion,
    baseline_is_best,
    better_than_baseline,
    better_than_constant,
    constant_score,
    enough_seeds,
    enough_trials,
    group_margin,
    holds_under_noise,
    no_group_falls,
    not_worse_than_champion,
    ood_metric,
    trained_through,
    unchanged_champion,
)
from cmir.promotion.noise_loss import NoiseLoss
from cmir.space.space_file import Gates
from tests.support.made_data.learning_data import write_learning


def differs(metric: str, estimate: float, width: float, sure: float = 0.5) -> Difference:
    """A difference whose interval reaches `width` to both sides."""
    ends = (estimate - width, estimate + width)
    name = metric.partition("/")[2]
    return Difference(name, estimate, *ends, width / 2, 8.0, sure, 0.5, 9, (3, 3))


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
        ("ood_val/corr", 1.0, 0.0, True),
        ("ood_val/corr", 0.99, 0.0, False),
        ("ood_val/corr", 0.99, 0.02, True),
    ],
)
def test_a_candidate_may_be_worse_than_the_champion_by_the_margin(
    metric: str, score: float, margin: float, passed: bool
) -> None:
    gates = Gates(champion_margin=margin)
    recorded = HeldChampion("version 4, as recorded", score=1.0)
    assert not_worse_than_champion(score, metric, recorded, gates).passed is passed
    paired = HeldChampion("version 4, same seeds", differs(metric, score - 1.0, 0.5))
    assert not_worse_than_champion(score, metric, paired, gates).passed is passed


def test_a_champion_that_cannot_be_compared_passes_and_says_why() -> None:
    verdict = not_worse_than_champion(99.0, "ood_val/mae", HeldChampion("no champion yet"), Gates())
    assert verdict.passed
    assert verdict.required == "no champion yet"


@pytest.mark.parametrize(
    ("metric", "estimate", "width", "better", "certain"),
    [
        ("ood_val/mae", -0.1, 0.05, True, True),
        ("ood_val/mae", -0.1, 0.15, True, False),
        ("ood_val/mae", 0.0, 0.15, False, False),
        ("ood_val/mae", 0.1, 0.05, False, False),
        ("ood_val/corr", 0.1, 0.05, True, True),
        ("ood_val/corr", 0.1, 0.15, True, False),
        ("ood_val/corr", -0.1, 0.05, False, False),
        ("ood_val/mae", float("nan"), 0.05, False, False),
    ],
)
def test_the_baseline_must_be_beaten_on_average_or_for_certain(
    metric: str, estimate: float, width: float, better: bool, certain: bool
) -> None:
    found = differs(metric, estimate, width)
    for asked, wanted in (("better", better), ("certain", certain)):
        gates = Gates.model_validate({"against_plain": asked})
        verdict = better_than_baseline(1.0, found, "trial 3", metric, gates)
        assert verdict.passed is wanted
        assert "trial 3" in verdict.required
        assert verdict.interval == f"[{found.low:+.4f}, {found.high:+.4f}]"


@pytest.mark.parametrize(
    ("estimate", "sure", "candidates", "passed"),
    [
        (-0.1, 0.97, 1, True),
        (-0.1, 0.91, 1, True),
        (-0.1, 0.89, 1, False),
        # The best of three must be surer: each of them had its chance to look good.
        (-0.1, 0.97, 3, True),
        (-0.1, 0.96, 3, False),
        (0.1, 0.97, 1, False),
        (-0.1, float("nan"), 1, False),
    ],
)
def test_by_default_the_baseline_must_be_beaten_with_confidence(
    estimate: float, sure: float, candidates: int, passed: bool
) -> None:
    found = differs("ood_val/mae", estimate, 0.2, sure)
    verdict = better_than_baseline(1.0, found, "trial 3", "ood_val/mae", Gates(), candidates)
    assert verdict.passed is passed
    assert "below 0 with 90% confidence" in verdict.required
    assert ("as the best of 3" in verdict.measured) is (candidates == 3)


def test_each_comparison_says_what_it_could_have_found() -> None:
    found = differs("ood_val/mae", -0.1, 0.2, 0.97)
    wanted = f"{minimum_detectable_effect(found):.4f}"
    held = HeldChampion("version 4", found)
    for verdict in (
        better_than_baseline(1.0, found, "trial 3", "ood_val/mae", Gates()),
        not_worse_than_champion(1.0, "ood_val/mae", held, Gates()),
        better_than_constant(1.0, 2.0, "ood_val/mae", found),
        baseline_is_best(1.0, found, "trial 3", "ood_val/mae", Gates()),
    ):
        assert verdict.detectable == wanted
        assert verdict.interval
    loss = NoiseLoss(0.8, 1.1, 0.3, 0.2, 0.4, 0.15)
    assert holds_under_noise(loss, "ood_val/mae", Gates()).detectable == "15%"
    assert enough_seeds(3, Gates()).detectable == ""


def test_a_baseline_that_is_the_best_passes_and_is_named() -> None:
    found = differs("ood_val/mae", -0.1, 0.2)
    verdict = baseline_is_best(1.0, found, "trial 3", "ood_val/mae", Gates())
    assert verdict.passed
    assert verdict.name == "ood_val/mae of the ERM baseline"
    assert "the better of it and trial 3" in verdict.required


def test_without_a_baseline_its_gates_pass_and_say_why() -> None:
    verdict = better_than_baseline(
        1.0, None, "the winner is the ERM baseline", "ood_val/mae", Gates()
    )
    assert (verdict.passed, verdict.required) == (True, "the winner is the ERM baseline")
    assert no_group_falls([], 0.1, "not asked for").passed


def test_the_group_that_falls_most_decides() -> None:
    changes = [
        GroupChange("ann", 20, 1.2, 1.0, -0.2, -0.3, -0.1),
        GroupChange("bob", 9, 0.5, 1.0, 0.5, 0.4, 0.6),
    ]
    verdict = no_group_falls(changes, 0.1, "")
    assert not verdict.passed
    assert verdict.measured == "ann (20 samples): -0.2000"
    assert verdict.interval == "[-0.3000, -0.1000]"
    assert no_group_falls(changes, 0.2, "").passed


@pytest.mark.parametrize(("share", "passed"), [(0.5, True), (0.6, False), (float("inf"), False)])
def test_noise_may_take_a_share_of_the_lead(share: float, passed: bool) -> None:
    loss = NoiseLoss(0.8, 1.1, share, share - 0.1, share + 0.1)
    assert holds_under_noise(loss, "ood_val/mae", Gates(noise_loss=0.5)).passed is passed


def test_the_margin_of_groups_follows_the_labels_unless_it_is_given(tmp_path: Path) -> None:
    data = load_dataset(write_learning(tmp_path / "data")).development()
    labels = data.train.labels.astype(np.float64)
    wanted = np.sqrt(np.mean((labels - labels.mean()) ** 2)) / 5
    assert group_margin(data, Gates()) == pytest.approx(wanted)
    assert group_margin(data, Gates(group_margin=0.0)) == 0.0


def test_a_champion_that_changed_meanwhile_never_passes() -> None:
    verdict = unchanged_champion("version 2", "version 3")
    assert (verdict.required, verdict.measured, verdict.passed) == ("version 2", "version 3", False)


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
