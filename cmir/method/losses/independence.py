"""Measures of dependence between two representations over a batch, one value per replica.

The paper's constraint compares samples (`cmir.method.losses.decorrelation`): two parts that hold
the same variable in different slots can score zero. These compare features, so they see it.
Leading axes other than replica, such as modality, come back in the result.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

FEWEST_FOR_HSIC = 4


def cross_covariance(
    invariant: Tensor, spurious: Tensor, reduction: Literal["sum", "mean"] = "sum"
) -> Tensor:
    """Squared correlations between every feature of both parts, less what chance alone gives.

    C = A^T B / N of the standardised features, sum_ij C_ij^2 - d^2 / (N - 1): of N independent
    samples a squared correlation is 1 / (N - 1) in the mean, exactly so over all pairings of the
    samples, and at batch 48 this bias is as large as a correlation of .15. The form is that of
    Barlow Twins (Zbontar et al. 2021) between two parts instead of two views. Pitfall: sees linear
    dependence only; values below zero mean less than chance.

    Args:
        invariant: `(replica, ..., batch, features)`.
        spurious: the same shape, or another number of features.
        reduction: `sum` over all pairs of features, or their `mean`.

    Returns:
        the leading axes; zero in the mean where the parts are independent. A feature that is
        constant over the batch correlates with nothing.

    Raises:
        ValueError: fewer than two samples.
    """
    samples = _samples(invariant, 2)
    correlation = _standard(invariant).transpose(-1, -2) @ _standard(spurious) / samples
    excess = correlation.square() - 1 / (samples - 1)
    return excess.sum((-2, -1)) if reduction == "sum" else excess.mean((-2, -1))


def hsic(invariant: Tensor, spurious: Tensor) -> Tensor:
    """Hilbert-Schmidt independence criterion, the unbiased estimate, with Gaussian kernels.

    With the diagonals of K and L set to zero: [tr(KL) + 1'K1 1'L1 / ((N-1)(N-2)) - 2 1'KL1 /
    (N-2)] / (N (N-3)) (Song et al. 2012, "Feature Selection via Dependence Maximization", Eq. 5;
    Gretton et al. 2005). Kernels exp(-|x - x'|^2 / w) with w the mean squared distance within the
    batch, taken as a constant. Pitfall: sees any dependence, but weakly in many dimensions and
    small batches; its values are small (a few hundredths), so its weight must be large.

    Args:
        invariant: `(replica, ..., batch, features)`.
        spurious: the same leading axes and batch.

    Returns:
        the leading axes; zero in the mean where the parts are independent.

    Raises:
        ValueError: fewer than four samples.
    """
    samples = _samples(invariant, FEWEST_FOR_HSIC)
    first, second = _kernel(invariant), _kernel(spurious)
    trace = (first * second).sum((-2, -1))
    sums = first.sum((-2, -1)) * second.sum((-2, -1)) / ((samples - 1) * (samples - 2))
    crossed = (first.sum(-1) * second.sum(-1)).sum(-1) * 2 / (samples - 2)
    return (trace + sums - crossed) / (samples * (samples - 3))


def explained_share(spurious: Tensor, contrasts: Tensor) -> Tensor:
    """Share of the variance of a representation that the label explains, less what chance gives.

    |C|^2 / tr(Var Z) with C = Z^T Y / N, Z centred: for a number R^2 of the regression of Z on it,
    for classes the part of the variance that lies between them. At zero, and only there, no linear
    map of Z tells anything of the label (Belrose et al. 2023, "LEACE", Theorem 3.1); over batches
    of N independent samples chance alone gives q / (N - 1), which is taken off. Pitfall: sees what
    is linear in Z; a spurious part may still tell the label to a deeper reader.

    Args:
        spurious: `(replica, ..., batch, features)`.
        contrasts: Y, from `label_contrasts`, with the same leading axes or such as broadcast to
            them, `(replica, ..., batch, q)`.

    Returns:
        the leading axes; zero in the mean where nothing is told, at most 1.

    Raises:
        ValueError: fewer than two samples.
    """
    samples, contrasts = _samples(spurious, 2), contrasts.to(spurious)
    centred = spurious - spurious.mean(-2, keepdim=True)
    told = (centred.transpose(-1, -2) @ contrasts / samples).square().sum((-2, -1))
    whole = centred.square().mean(-2).sum(-1).clamp(min=1e-12)
    return told / whole - contrasts.square().mean(-2).sum(-1) / (samples - 1)


def squared_distances(values: Tensor) -> Tensor:
    """|x_i - x_j|^2 of every pair of samples: `(..., batch, features)` to `(..., batch, batch)`."""
    # About their mean the products are small, and so is what their difference loses.
    centred = values - values.mean(-2, keepdim=True)
    norms = centred.square().sum(-1)
    products = centred @ centred.transpose(-1, -2)
    return (norms[..., :, None] + norms[..., None, :] - 2 * products).clamp(min=0)


def _samples(values: Tensor, least: int) -> int:
    count = values.shape[-2]
    if count < least:
        raise ValueError(f"a batch must hold at least {least} samples, but got {count}")
    return count


def _standard(values: Tensor) -> Tensor:
    centred = values - values.mean(-2, keepdim=True)
    variance = centred.square().mean(-2, keepdim=True)
    return centred * variance.clamp(min=1e-12).rsqrt()


def _kernel(values: Tensor) -> Tensor:
    """`(..., batch, batch)` with a diagonal of zeros."""
    distances = squared_distances(values)
    width = distances.detach().mean((-2, -1), keepdim=True).clamp(min=1e-12)
    own = torch.eye(values.shape[-2], dtype=torch.bool, device=values.device)
    return (-distances / width).exp().masked_fill(own, 0.0)
