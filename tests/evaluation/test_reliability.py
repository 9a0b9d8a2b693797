"""Calibration and the tenth percentile, against spelled-out loops."""

from __future__ import annotations

import numpy as np
import pytest

from cmir.errors import InputError
from cmir.evaluation.reliability import (
    expected_calibration_error,
    tenth_percentile_accuracy,
    tenth_percentile_mae,
)


def test_the_calibration_error_is_its_definition_spelled_out() -> None:
    rng = np.random.default_rng(0)
    logits, labels = 2 * rng.normal(size=(3, 200)), rng.integers(0, 2, 200)
    found = expected_calibration_error(logits, labels, bins=10)
    for replica in range(3):
        probability = 1 / (1 + np.exp(-logits[replica]))
        confidence = np.maximum(probability, 1 - probability)
        correct = (probability >= 0.5) == (labels == 1)
        wanted = 0.0
        for low in np.arange(0.5, 1.0, 0.05):
            inside = (confidence >= low) & (confidence < low + 0.05)
            if inside.any():
                wanted += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
        assert found[replica] == pytest.approx(wanted)


def test_a_calibrated_model_has_a_small_error_and_a_boastful_one_has_not() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, 20_000))
    labels = rng.random(20_000) < 1 / (1 + np.exp(-logits[0]))
    assert expected_calibration_error(logits, labels)[0] < 0.02
    assert expected_calibration_error(4 * logits, labels)[0] > 0.1


def test_certainty_that_is_always_right_has_no_error() -> None:
    assert expected_calibration_error([[500.0, -500.0]], [1, 0]).tolist() == [0.0]


def test_calibration_is_of_classes() -> None:
    with pytest.raises(InputError, match="labels: must be 0 or 1"):
        expected_calibration_error([[1.0, 2.0]], [0.5, 1.0])


def test_nine_of_ten_groups_stay_below_the_tenth_percentile_of_errors() -> None:
    errors = np.arange(11.0).repeat(2)
    found = tenth_percentile_mae([errors, -2 * errors], np.zeros(22), np.arange(11).repeat(2))
    assert found.tolist() == [9.0, 18.0]


def test_nine_of_ten_groups_stay_above_the_tenth_percentile_of_accuracies() -> None:
    groups, place = np.arange(11).repeat(10), np.tile(np.arange(10), 11)
    scores = np.where(place < groups, 1.0, -1.0)[None]
    assert tenth_percentile_accuracy(scores, np.ones(110), groups).tolist() == [0.1]
