"""Every loss against a spelled-out loop, and what the terms mean."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Literal

import pytest
import torch
from sklearn.metrics import log_loss, mean_absolute_error, mean_squared_error
from torch import Tensor
from torch.distributions import Bernoulli, kl_divergence

from cmir.method.losses.constraints import (
    decorrelation,
    invariance,
    prediction_errors,
    prediction_invariance,
    reconstruction,
)

Reduction = Literal["sum", "mean"]
Axis = Literal["features", "batch"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=source, dtype=torch.float64)


def invariance_by_pairs(views: Tensor, reduction: Reduction) -> Tensor:
    """Eq. 4 of one replica: a loop over samples and pairs of environments."""
    count, batch, features = views.shape
    total = views.new_zeros(())
    for sample in range(batch):
        for first in range(count):
            for second in range(first + 1, count):
                total = total + (views[first, sample] - views[second, sample]).abs().sum()
    pairs = count * (count - 1) / 2
    return total / batch if reduction == "sum" else total / (batch * pairs * features)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("noisy", [1, 2, 5])
def test_invariance_is_the_sum_over_pairs_and_so_is_its_gradient(
    noisy: int, reduction: Reduction
) -> None:
    views = normal(3, noisy + 1, 4, 5).requires_grad_()
    measured = invariance(views, reduction)
    expected = torch.stack([invariance_by_pairs(replica, reduction) for replica in views])
    torch.testing.assert_close(measured, expected)
    slopes = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(measured @ slopes, views)
    (wanted,) = torch.autograd.grad(expected @ slopes, views)
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("noisy", [1, 2, 5])
def test_equal_views_have_no_distance_and_pull_no_weight(noisy: int) -> None:
    weight = normal(4, 3, seed=1).requires_grad_()
    views = (normal(1, 1, 6, 4).expand(1, noisy + 1, 6, 4)) @ weight
    distance = invariance(views)
    (gradient,) = torch.autograd.grad(distance.sum(), weight)
    assert distance.item() == 0
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_a_single_view_is_at_no_distance() -> None:
    assert invariance(normal(3, 1, 4, 5)).tolist() == [0, 0, 0]


def test_invariance_keeps_further_leading_axes() -> None:
    views = normal(2, 3, 4, 5, 6)
    expected = [[invariance_by_pairs(one, "sum") for one in replica] for replica in views]
    torch.testing.assert_close(invariance(views), torch.tensor(expected))


def decorrelation_by_entries(
    invariant: Tensor, spurious: Tensor, alpha: float, axis: Axis, reduction: Reduction
) -> float:
    """Eq. 5-6 of one replica, entry by entry of the N x N matrix."""
    batch, features = invariant.shape
    along = 1 if axis == "features" else 0
    first, second = (
        (x - x.mean(along, keepdim=True)) / x.std(along, unbiased=False, keepdim=True)
        for x in (invariant, spurious)
    )
    squares = 0.0
    for row in range(batch):
        for column in range(batch):
            entry = sum(float(first[row, k] * second[column, k]) for k in range(features))
            entry *= 1.0 if row == column else alpha
            squares += (entry / features) ** 2 if reduction == "mean" else entry**2
    return math.sqrt(squares / batch**2 if reduction == "mean" else squares)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("axis", ["features", "batch"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_decorrelation_is_the_weighted_norm_of_the_similarity_of_all_samples(
    alpha: float, axis: Axis, reduction: Reduction
) -> None:
    invariant, spurious = 2 + normal(3, 6, 4), normal(3, 6, 4, seed=1) ** 3
    expected = [
        decorrelation_by_entries(*pair, alpha, axis, reduction)
        for pair in zip(invariant, spurious, strict=True)
    ]
    measured = decorrelation(invariant, spurious, alpha, axis, reduction)
    torch.testing.assert_close(measured, torch.tensor(expected, dtype=torch.float64))


def test_each_replica_has_its_own_off_diagonal_weight() -> None:
    invariant, spurious = normal(2, 3, 6, 4), normal(2, 3, 6, 4, seed=1)
    alpha = torch.tensor([[0.2], [0.9]], dtype=torch.float64)
    both = decorrelation(invariant, spurious, alpha)
    for replica in range(2):
        alone = decorrelation(invariant[replica], spurious[replica], alpha[replica].item())
        torch.testing.assert_close(both[replica], alone)


@pytest.mark.parametrize("axis", ["features", "batch"])
def test_decorrelation_of_constant_parts_is_zero_with_a_finite_gradient(axis: Axis) -> None:
    invariant = torch.ones(1, 6, 4, requires_grad=True)
    value = decorrelation(invariant, normal(1, 6, 4).float(), 0.5, axis)
    (gradient,) = torch.autograd.grad(value.sum(), invariant)
    assert value.item() == 0
    assert gradient.isfinite().all()


def test_decorrelation_as_printed_misses_a_variable_in_another_slot() -> None:
    # The pitfall that the docstring names: the spurious part holds the same numbers, reordered.
    invariant = torch.tensor([[[1.0, -1.0, 1.0, -1.0]]])
    moved = torch.tensor([[[1.0, 1.0, -1.0, -1.0]]])
    assert decorrelation(invariant, moved, 1.0).item() == pytest.approx(0)
    assert decorrelation(invariant, invariant, 1.0).item() == pytest.approx(4)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_reconstruction_is_the_squared_distance_of_a_loop(reduction: Reduction) -> None:
    features, rebuilt = normal(2, 5, 3), normal(2, 5, 3, seed=1)
    for replica, measured in enumerate(reconstruction(features, rebuilt, reduction)):
        total = sum(
            float(features[replica, sample, k] - rebuilt[replica, sample, k]) ** 2
            for sample in range(5)
            for k in range(3)
        )
        assert measured.item() == pytest.approx(total / (5 if reduction == "sum" else 15))


def test_prediction_errors_average_to_the_losses_of_torch_and_scikit_learn() -> None:
    scores, labels = normal(2, 30), normal(30, seed=1)
    classes = (labels > 0).double()
    squared, absolute = (prediction_errors(scores, labels, kind) for kind in ("mse", "mae"))
    entropy = prediction_errors(scores, classes, "bce")
    assert squared.shape == absolute.shape == entropy.shape == (2, 30)
    for replica, row in enumerate(scores):
        assert squared[replica].mean() == pytest.approx(mean_squared_error(labels, row))
        assert absolute[replica].mean() == pytest.approx(mean_absolute_error(labels, row))
        assert entropy[replica].mean() == pytest.approx(log_loss(classes, row.sigmoid()))
        torch.testing.assert_close(
            entropy[replica].mean(),
            torch.nn.functional.binary_cross_entropy_with_logits(row, classes),
        )


def test_cross_entropy_of_a_sure_logit_stays_finite() -> None:
    errors = prediction_errors(torch.tensor([[200.0, -200.0]]), torch.tensor([0.0, 0.0]), "bce")
    assert errors.tolist() == [[200, 0]]


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_prediction_invariance_is_the_mean_distance_of_all_pairs(
    kind: Literal["mse", "bce"],
) -> None:
    scores = normal(2, 3, 4, 5)
    measured = prediction_invariance(scores, kind)
    for replica in range(2):
        for modality in range(3):
            pairs = [
                prediction_distance(
                    scores[replica, modality, a, i], scores[replica, modality, b, i], kind
                )
                for a, b in combinations(range(4), 2)
                for i in range(5)
            ]
            assert measured[replica, modality].item() == pytest.approx(sum(pairs) / len(pairs))


def prediction_distance(one: Tensor, other: Tensor, kind: str) -> float:
    if kind == "mse":
        return abs(float(one - other))
    first, second = Bernoulli(logits=one), Bernoulli(logits=other)
    both_ways = kl_divergence(first, second) + kl_divergence(second, first)
    return float(both_ways) / 2


def test_one_view_is_invariant_in_its_predictions() -> None:
    assert prediction_invariance(normal(2, 1, 5), "bce").tolist() == [0, 0]
