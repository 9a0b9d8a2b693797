"""Dependence between two parts: against spelled-out sums, and what it can and cannot see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from torch import Tensor

from cmir.method.losses.constraints import decorrelation
from cmir.method.losses.independence import cross_covariance, hsic


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_cross_covariance_is_the_squared_correlation_of_every_pair_less_chance() -> None:
    first, second = normal(2, 3, 9, 4), normal(2, 3, 9, 5, seed=1)
    summed = cross_covariance(first, second)
    averaged = cross_covariance(first, second, "mean")
    for r in range(2):
        for m in range(3):
            squares = [
                pearsonr(first[r, m, :, i], second[r, m, :, j]).statistic ** 2 - 1 / 8
                for i in range(4)
                for j in range(5)
            ]
            assert summed[r, m].item() == pytest.approx(sum(squares))
            assert averaged[r, m].item() == pytest.approx(np.mean(squares))


def test_hsic_is_the_unbiased_estimate_by_its_definition() -> None:
    first, second = normal(2, 7, 3), normal(2, 7, 2, seed=1)
    measured = hsic(first, second)
    for r in range(2):
        assert measured[r].item() == pytest.approx(hsic_by_loop(first[r], second[r]))


def hsic_by_loop(first: Tensor, second: Tensor) -> float:
    """U-statistic over all quadruples of different samples (Gretton et al. 2005, Eq. 9)."""
    kernels = []
    for values in (first, second):
        distances = torch.cdist(values, values).square()
        kernels.append(torch.exp(-distances / distances.mean()))
    one, other = kernels
    n, total, number = len(first), 0.0, 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += float(one[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q]))
                        number += 1
    return total / number


@pytest.mark.parametrize("measure", [cross_covariance, hsic])
def test_independent_parts_score_zero_in_the_mean(measure: object) -> None:
    assert callable(measure)
    values = measure(normal(4000, 16, 3), normal(4000, 16, 3, seed=1))
    assert abs(values.mean()) < 4 * values.std() / 4000**0.5


def test_variables_in_other_slots_are_seen_by_features_and_not_by_samples() -> None:
    # Both parts hold the same 64 variables, each a slot further in the second.
    first = normal(1, 48, 64)
    second, unrelated = first.roll(1, dims=-1), normal(1, 48, 64, seed=2)
    assert cross_covariance(first, second) > 40
    assert abs(cross_covariance(first, unrelated)) < 10
    assert hsic(first, second) > 10 * abs(hsic(first, unrelated))
    as_printed = decorrelation(first, second, 0.0, "features")
    assert as_printed == pytest.approx(decorrelation(first, unrelated, 0.0, "features"), rel=0.15)


def test_hsic_sees_what_no_correlation_shows() -> None:
    first = normal(1, 400, 1)
    assert abs(cross_covariance(first, first.square())) < 0.05
    assert hsic(first, first.square()) > 10 * abs(hsic(first, normal(1, 400, 1, seed=1)))


def test_a_constant_feature_correlates_with_nothing() -> None:
    constant = torch.ones(1, 8, 2, dtype=torch.float64, requires_grad=True)
    value = cross_covariance(constant, normal(1, 8, 2))
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert value.item() == pytest.approx(-4 / 7)
    assert constant.grad is not None
    assert constant.grad.isfinite().all()


@pytest.mark.parametrize(("measure", "least"), [(cross_covariance, 2), (hsic, 4)])
def test_too_small_a_batch_is_refused(measure: object, least: int) -> None:
    assert callable(measure)
    with pytest.raises(ValueError, match=f"at least {least} samples, but got {least - 1}"):
        measure(torch.ones(1, least - 1, 2), torch.ones(1, least - 1, 2))
