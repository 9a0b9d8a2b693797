"""The diagnosis of a partition against loops, and what its p-values say."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from cmir.data.task import SENTIMENT, Task
from cmir.errors import InputError
from cmir.method.environments.clusters import label_bins
from cmir.method.environments.diagnosis import check_sizes, diagnose
from cmir.method.environments.reference import Reference

SIZE = 240


def made_up(seed: int = 0) -> Reference:
    rng = np.random.default_rng(seed)
    labels = rng.uniform(-3, 3, SIZE)
    return Reference(0.6 * labels + rng.normal(size=SIZE), labels, SENTIMENT)


def random_groups(seed: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng([9, seed]).permutation(np.arange(SIZE) % count)


def test_every_number_is_that_of_a_loop_over_environments() -> None:
    reference, groups = made_up(), random_groups(0)
    found = diagnose("random", groups, reference)
    bins, _ = label_bins(reference.labels, SENTIMENT)
    risks, penalties = [], []
    for number, row in enumerate(found.environments):
        members = [i for i in range(SIZE) if groups[i] == number]
        pairs = [(reference.scores[i], reference.labels[i]) for i in members]
        risks.append(sum((f - y) ** 2 for f, y in pairs) / len(pairs))
        penalties.append((sum(2 * (f - y) * f for f, y in pairs) / len(pairs)) ** 2)
        assert row.size == len(members)
        assert list(row.labels) == [sum(bins[i] == b for i in members) for b in range(5)]
        assert row.label_mean == pytest.approx(sum(y for _, y in pairs) / len(pairs))
        assert (row.reference_loss, row.irm_penalty) == pytest.approx((risks[-1], penalties[-1]))
    mean = sum(risks) / 3
    assert found.risk_variance.value == pytest.approx(sum((r - mean) ** 2 for r in risks) / 3)
    assert found.irm_penalty.value == pytest.approx(sum(penalties) / 3)
    information = 0.0
    for e in range(3):
        for b in range(5):
            joint = np.mean((groups == e) & (bins == b))
            information += joint * math.log(joint / np.mean(groups == e) / np.mean(bins == b))
    assert found.mutual_information.value == pytest.approx(information)


def test_a_p_value_counts_random_partitions_that_reach_the_value() -> None:
    reference, groups = made_up(), random_groups(0)
    rng = np.random.default_rng(0)
    reached = 0
    for _ in range(20):
        other = rng.permutation(groups)
        risks = [reference.losses[other == number].mean() for number in range(3)]
        own = [reference.losses[groups == number].mean() for number in range(3)]
        reached += np.var(risks) >= np.var(own)
    assert diagnose("random", groups, reference).risk_variance.p == (1 + reached) / 21


def test_each_planted_difference_is_found_by_its_own_statistic() -> None:
    reference = made_up()
    by_label = diagnose("a", np.argsort(np.argsort(reference.labels)) * 3 // SIZE, reference)
    by_loss = diagnose("b", np.argsort(np.argsort(reference.losses)) * 3 // SIZE, reference)
    too_far = (reference.scale_gradients > 0).astype(np.int64)
    by_gradient = diagnose("c", too_far, reference)
    least = pytest.approx(1 / 21)
    assert by_label.mutual_information.p == least
    assert by_loss.risk_variance.p == least
    assert by_gradient.irm_penalty.p == least


def test_random_partitions_have_p_values_from_end_to_end() -> None:
    found = [diagnose("random", random_groups(seed), made_up(seed)) for seed in range(60)]
    for name in ("mutual_information", "risk_variance", "irm_penalty"):
        values = [getattr(one, name).p for one in found]
        assert 0.35 < np.mean(values) < 0.65
        assert np.mean(np.array(values) < 0.1) < 0.25


def test_a_partition_that_chance_reaches_always_has_a_p_value_of_one() -> None:
    same = Reference(np.ones(SIZE), np.zeros(SIZE), SENTIMENT)
    found = diagnose("random", random_groups(0), same)
    assert (found.risk_variance.p, found.irm_penalty.p, found.mutual_information.p) == (1, 1, 1)


def test_a_diagnosis_is_repeatable_and_becomes_plain_values() -> None:
    first, second = (diagnose("random", random_groups(0), made_up()) for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(first.as_json()))["environments"][2]["size"] == 80
    assert set(first.metrics) == {
        "partition/mutual_information",
        "partition/mutual_information_p",
        "partition/reference_risk_variance",
        "partition/reference_risk_variance_p",
        "partition/irm_penalty",
        "partition/irm_penalty_p",
        "partition/smallest",
    }
    assert first.metrics["partition/smallest"] == 80


def test_a_binary_task_has_its_classes_as_bins() -> None:
    labels = np.arange(SIZE, dtype=np.float64) % 2
    found = diagnose("x", np.arange(SIZE) // 120, Reference(labels - 0.5, labels, Task("binary")))
    assert [row.labels for row in found.environments] == [(60, 60), (60, 60)]
    assert found.mutual_information.value == pytest.approx(0, abs=1e-12)


def test_eight_samples_are_enough_and_seven_are_not() -> None:
    check_sizes("kmeans", np.repeat([0, 1], [8, 30]), 2)
    message = (
        r"at least 8 training samples, but environment 1 of 'kmeans' has 7 \(sizes 30, 7, 9\)"
        r"\. Lower environments\.groups, or choose another partition\."
    )
    with pytest.raises(InputError, match=message):
        check_sizes("kmeans", np.repeat([0, 1, 2], [30, 7, 9]), 3)


@pytest.mark.parametrize(
    ("scheme", "advice"),
    [("error", "too few mistakes"), ("eiil", "one side only"), ("oracle", "Add training samples")],
)
def test_an_empty_environment_says_what_to_change(scheme: str, advice: str) -> None:
    with pytest.raises(InputError, match=rf"environment 1 of '{scheme}' has 0 .*{advice}"):
        check_sizes(scheme, np.zeros(50, dtype=np.int64), 2)
