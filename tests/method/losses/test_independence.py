"""Dependence between two parts: against spelled-out sums, and what it can and cannot see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.linear_model import LinearRegression
from torch import Tensor

from cmir.method.losses.class_losses import label_contrasts
from cmir.method.losses.constraints import decorrelation
from cmir.method.losses.independence import cross_covariance, explained_share, hsic


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


def test_the_share_that_a_number_explains_is_r2_of_the_regression_on_it() -> None:
    values, labels = normal(2, 3, 9, 4), normal(2, 9, seed=1)
    share = explained_share(values, label_contrasts(labels, "mae", 1)[:, None])
    for r in range(2):
        for m in range(3):
            line = LinearRegression().fit(labels[r, :, None], values[r, m])
            told = line.predict(labels[r, :, None]).var(axis=0).sum()
            expected = told / values[r, m].numpy().var(axis=0).sum() - 1 / 8
            assert share[r, m].item() == pytest.approx(expected)


def test_the_share_that_classes_explain_is_that_between_them() -> None:
    values, classes = normal(1, 12, 4), torch.tensor([[0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 1, 2]])
    contrasts = label_contrasts(classes.double(), "cross_entropy", 3)
    means = np.stack([values[0][classes[0] == c].mean(0).numpy() for c in classes[0].tolist()])
    between = means.var(axis=0).sum() / values[0].numpy().var(axis=0).sum()
    chance = (3 - 1) / 11
    assert explained_share(values, contrasts)[0].item() == pytest.approx(between - chance)
    # Two classes are the number that tells them apart.
    two = (classes > 0).double()
    one = explained_share(values, label_contrasts(two, "bce", 1))
    both = explained_share(values, label_contrasts(two, "cross_entropy", 2))
    torch.testing.assert_close(one, both)


def test_several_labels_explain_the_mean_of_what_each_does() -> None:
    values, labels = normal(1, 20, 4), (normal(1, 20, 3, seed=2) > 0).double()
    together = explained_share(values, label_contrasts(labels, "label_bce", 3))
    each = [explained_share(values, label_contrasts(labels[..., c], "bce", 1)) for c in range(3)]
    torch.testing.assert_close(together, torch.stack(each).mean(0))


def test_what_has_nothing_to_do_with_the_label_explains_nothing_in_the_mean() -> None:
    values, labels = normal(400, 10, 5), normal(400, 10, seed=1)
    share = explained_share(values, label_contrasts(labels, "mse", 1))
    assert abs(share.mean().item()) < 0.01
    same = explained_share(labels[..., None].repeat(1, 1, 3), label_contrasts(labels, "mse", 1))
    assert same.numpy() == pytest.approx(1 - 1 / 9)


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
