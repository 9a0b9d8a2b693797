"""How far the distributions of a representation lie from each other between environments (MMD)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cmir.method.losses.independence import squared_distances

# Of the Gaussian kernels, as multiples of the mean squared distance of a batch.
SCALES = (0.25, 1.0, 4.0)


def mmd(features: Tensor, groups: Tensor, count: int) -> Tensor:
    """Maximum mean discrepancy between the environments, mean over their pairs.

    MMD^2_ab = E k(x, x') + E k(y, y') - 2 E k(x, y) with x, x' of a and y, y' of b, without bias:
    no sample is compared with itself (Gretton et al. 2012, "A Kernel Two-Sample Test", Eq. 3; as a
    penalty Li et al. 2018, MMD-AAE, Eq. 4). k is
    the mean of Gaussian kernels exp(-|x - y|^2 / (c s)), with s the mean squared distance of the
    batch, held fixed: shrinking the representation changes nothing. Unlike CORAL it sees all
    moments. Pitfalls: negative at times; and under label shift it works against an invariant
    representation, as CORAL does.

    Args:
        features: `(replica, batch, features)`.
        groups: `(replica, batch)` integers in [0, count).
        count: number of environments.

    Returns:
        `(replica,)`; environments of fewer than two samples in the batch are left out.
    """
    members = functional.one_hot(groups, count).to(features.dtype)
    sizes = members.sum(1)
    sums = members.transpose(1, 2) @ gaussian_kernel(features) @ members
    within = (sums.diagonal(dim1=1, dim2=2) - sizes) / (sizes * (sizes - 1)).clamp(min=1)
    between = sums / (sizes[:, :, None] * sizes[:, None]).clamp(min=1)
    values = within[:, :, None] + within[:, None] - 2 * between
    present = sizes > 1
    pairs = (present[:, :, None] & present[:, None]).to(features.dtype).triu(1)
    return (values * pairs).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)


def gaussian_kernel(features: Tensor) -> Tensor:
    """The mean of three Gaussian kernels over `(replica, batch, features)`, each pair's value.

    Example:
        >>> gaussian_kernel(torch.tensor([[[0.0], [0.0]]]))
        tensor([[[1., 1.],
                 [1., 1.]]])
    """
    distances = squared_distances(features)
    pairs = features.shape[1] * (features.shape[1] - 1)
    scale = (distances.detach().sum((1, 2)) / max(pairs, 1)).clamp(min=1e-12)[:, None, None]
    kernels = [torch.exp(-distances / (width * scale)) for width in SCALES]
    return torch.stack(kernels).mean(0)
