"""Means with their uncertainty over seeds and groups."""

import numpy as np
import pytest

from cmir.evaluation.modalities.estimates import Estimate, estimate_of
from cmir.evaluation.paired_tests import paired_difference


def test_an_estimate_is_the_paired_difference_to_no_error_at_all() -> None:
    random = np.random.default_rng(0)
    labels, groups = random.normal(size=60).clip(-3, 3), np.arange(60) % 12
    scores = labels + random.normal(size=(3, 60))
    exact = np.repeat(labels[None], 3, axis=0)
    expected = paired_difference(scores, exact, labels, groups, "mae")
    found = estimate_of(np.abs(scores - labels), groups)
    assert found.value == pytest.approx(expected.estimate)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.groups == expected.groups == 12


def test_a_mean_that_is_surely_above_zero_has_a_small_p_value_and_its_mirror_a_large_one() -> None:
    values = 1.0 + 0.1 * np.random.default_rng(1).normal(size=(2, 40))
    found = estimate_of(values, np.arange(40) // 4)
    mirrored = estimate_of(-values, np.arange(40) // 4)
    assert found.p_above < 0.001
    assert found.p_below > 0.999
    assert mirrored.p_below == pytest.approx(found.p_above, abs=1e-9)


def test_one_less_a_share_of_another_adds_their_variances() -> None:
    one = Estimate(0.5, 0.4, 0.6, 0.05, 9.0, 10)
    other = Estimate(1.0, 0.8, 1.2, 0.1, 20.0, 21)
    found = one.less(0.8, other)
    assert found.value == pytest.approx(-0.3)
    assert found.error == pytest.approx(np.hypot(0.05, 0.08))
    assert 9.0 < found.degrees < 20.0
    assert found.groups == 10
    assert one.times(2.0).high == pytest.approx(1.2)


def test_where_nothing_varies_the_sign_decides() -> None:
    groups = np.arange(6) // 2
    assert estimate_of(np.full((2, 6), 0.5), groups).p_above == 0.0
    assert estimate_of(np.zeros((2, 6)), groups).p_above == 0.5
