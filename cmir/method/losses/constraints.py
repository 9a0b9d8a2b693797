"""The terms of the objective, as pure functions: one value per replica.

Leading axes: where a shape says `(replica, ...)`, further leading axes such as modality may stand
between replica and the named ones; they come back in the result. The paper leaves open whether
the distances are summed or averaged. The default is its printed form, a sum over features (and
pairs) and the mean over the samples of the batch; `reduction="mean"` averages over all of them.

Reference: Mai and Han, "Learning Invariant Modality Representation for Robust Multimodal Learning
from a Causal Inference Perspective", ACL 2026, arXiv 2604.18460.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from cmir.method.losses.class_losses import Loss, class_loss, divergence

Reduction = Literal["sum", "mean"]


def prediction_errors(predictions: Tensor, labels: Tensor, kind: Loss) -> Tensor:
    """The error of each sample (Mai and Han 2026, Eq. 2).

    Args:
        predictions: `(replica, ..., batch)`; for `bce` a logit, for a loss over names their logits
            `(replica, ..., batch, C)`.
        labels: broadcastable to it; for `bce` 0 or 1; for names see `ClassLoss`.
        kind: squared error, absolute error, binary cross-entropy, or a loss over names.

    Returns:
        `(replica, ..., batch)`, not averaged.

    Example:
        >>> prediction_errors(torch.tensor([[1.0, 2.0]]), torch.tensor([0.0, 0.0]), "mse")
        tensor([[1., 4.]])
    """
    named = class_loss(kind)
    if named is not None:
        return named.errors(predictions, labels)
    labels = labels.expand_as(predictions)
    if kind == "mse":
        return (predictions - labels).square()
    if kind == "mae":
        return (predictions - labels).abs()
    return functional.binary_cross_entropy_with_logits(predictions, labels, reduction="none")


def invariance(views: Tensor, reduction: Reduction = "sum") -> Tensor:
    """L1 distance between the invariant parts of one sample in different environments.

    R_inv = mean over samples of the sum over pairs e1 < e2 of |Z_inv^(e1) - Z_inv^(e2)|_1
    (Mai and Han 2026, Eq. 4), with K(K+1)/2 pairs for K + 1 views.

    Pairs with the same distance e2 - e1 are taken together: K passes, none over single pairs.

    Args:
        views: `(replica, view, batch, features)`, the clean copy among the views.
        reduction: `sum` over pairs and features as printed, or `mean` over them.

    Returns:
        `(replica,)`; zero for a single view.

    Example:
        >>> views = torch.tensor([[[[0.0, 0.0]], [[1.0, -2.0]]]])
        >>> invariance(views)
        tensor([3.])
    """
    count, batch, features = views.shape[-3:]
    total: Tensor = _PairwiseDistance.apply(views)  # type: ignore[no-untyped-call]
    pairs = max(1, count * (count - 1) // 2)
    return total / (batch if reduction == "sum" else batch * features * pairs)


class _PairwiseDistance(torch.autograd.Function):
    """Sum over pairs of views of their L1 distance: `(..., view, batch, features)` to `(...)`.

    The slope by a view is the sum of the signs of its differences, known once these are: autograd
    would keep every difference and fill a tensor of zeros for every slice of views.
    """

    @staticmethod
    def forward(ctx: Any, views: Tensor) -> Tensor:
        slopes = torch.zeros_like(views)
        total = views.new_zeros(views.shape[:-3])
        for lag in range(1, views.shape[-3]):
            gap = views[..., lag:, :, :] - views[..., :-lag, :, :]
            total += torch.linalg.vector_norm(gap, 1, dim=(-3, -2, -1))
            gap.sign_()
            slopes[..., lag:, :, :] += gap
            slopes[..., :-lag, :, :] -= gap
        ctx.slopes = slopes
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        slopes: Tensor = ctx.slopes
        ctx.slopes = None  # Scaled in place, so that they serve once.
        return slopes.mul_(slope[..., None, None, None])


def decorrelation(
    invariant: Tensor,
    spurious: Tensor,
    off_diagonal: float | Tensor,
    normalise: Literal["features", "batch"] = "features",
    reduction: Reduction = "sum",
) -> Tensor:
    """The mutual-information constraint: similarity of invariant and spurious parts.

    C = Nor(Z_inv) Nor(Z_spu)^T, R_dec = |diag(C) + alpha (C - diag(C))|_F with
    Nor(x) = (x - mean) / std (Mai and Han 2026, Eq. 5-6), C of shape N x N over the batch.
    The paper leaves the axis of Nor open. `features` normalises each sample's vector, so that
    C_ii / d is the correlation between the two parts of sample i; `batch` normalises each feature.
    As printed, C compares samples, not features: two parts that hold the same variable in
    different slots can score zero.

    Args:
        invariant: `(replica, batch, features)`.
        spurious: the same shape.
        off_diagonal: alpha in [0, 1]; a tensor must broadcast against the leading axes.
        normalise: the axis of Nor, with the population standard deviation.
        reduction: `sum` is the Frobenius norm of C as printed; `mean` divides C by the number of
            features and takes the root of the mean square of the weighted entries.

    Returns:
        `(replica,)`.
    """
    axis = -1 if normalise == "features" else -2
    similarity = _normal(invariant, axis) @ _normal(spurious, axis).transpose(-1, -2)
    alpha = torch.as_tensor(off_diagonal, dtype=similarity.dtype, device=similarity.device)
    diagonal = similarity.diagonal(dim1=-2, dim2=-1).square().sum(-1)
    rest = similarity.square().sum((-2, -1)) - diagonal
    norm = _safe_root(diagonal + alpha.square() * rest)
    if reduction == "sum":
        return norm
    return norm / (invariant.shape[-1] * invariant.shape[-2])


def reconstruction(features: Tensor, reconstructed: Tensor, reduction: Reduction = "sum") -> Tensor:
    """Squared distance between a unimodal vector and its reconstruction from both parts.

    R_rec = mean over samples of |X_m - r_m(Z_inv, Z_spu)|_2^2 (Mai and Han 2026, Eq. 8).

    Args:
        features: `(replica, batch, features)`.
        reconstructed: the same shape.
        reduction: `sum` over features as printed, or `mean`.

    Returns:
        `(replica,)`.

    Example:
        >>> reconstruction(torch.ones(1, 2, 3), torch.zeros(1, 2, 3))
        tensor([3.])
    """
    squares = (features - reconstructed).square()
    total = squares.sum((-2, -1)) if reduction == "sum" else squares.mean((-2, -1))
    return total / features.shape[-2] if reduction == "sum" else total


def prediction_invariance(scores: Tensor, kind: Loss) -> Tensor:
    """Distance between what one sample's environments let a unimodal predictor predict.

    The paper's "standard" form of R_inv (Mai and Han 2026, App. H). Of two predictions it is the
    absolute difference for a regression. For classes it is the Kullback-Leibler divergence, the
    mean of both directions, which for two Bernoulli variables is (p - q)(logit p - logit q) / 2;
    see `divergence` for several names.
    Averaged over pairs of views and samples. Pitfall: only differences that the predictor looks at
    count, so that a predictor that has learned nothing is content with any representation.

    Args:
        scores: `(replica, ..., view, batch)`: predictions, for `bce` logits; for a loss over names
            their logits `(replica, ..., view, batch, C)`.
        kind: the task loss.

    Returns:
        the leading axes; zero for a single view.

    Example:
        >>> prediction_invariance(torch.tensor([[[1.0], [3.0], [4.0]]]), "mae")
        tensor([2.])
    """
    named = class_loss(kind)
    if named is not None:
        return _divergence_of_views(scores, named.kind)
    count = scores.shape[-2]
    total = scores.new_zeros(scores.shape[:-2])
    for lag in range(1, count):
        gap = scores[..., lag:, :] - scores[..., :-lag, :]
        if kind == "bce":
            chances = scores.sigmoid()
            gap = gap * (chances[..., lag:, :] - chances[..., :-lag, :]) / 2
        total = total + gap.abs().sum((-2, -1))
    return total / (scores.shape[-1] * max(1, count * (count - 1) // 2))


def _divergence_of_views(scores: Tensor, kind: str) -> Tensor:
    count, batch = scores.shape[-3:-1]
    total = scores.new_zeros(scores.shape[:-3])
    for lag in range(1, count):
        found = divergence(scores[..., lag:, :, :], scores[..., :-lag, :, :], kind)
        total = total + found.sum((-2, -1))
    return total / (batch * max(1, count * (count - 1) // 2))


def _normal(values: Tensor, axis: int) -> Tensor:
    if axis == -1:  # What torch has one kernel for.
        return functional.layer_norm(values, values.shape[-1:], eps=1e-12)
    centred = values - values.mean(axis, keepdim=True)
    deviation = _safe_root(centred.square().mean(axis, keepdim=True))
    return centred / deviation.clamp(min=1e-6)


def _safe_root(squares: Tensor) -> Tensor:
    """Square root whose gradient at zero is zero instead of infinite."""
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)
