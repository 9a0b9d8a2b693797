"""Virtual environments: perturbed views of a sample.

Views act on the unimodal vectors (Mai and Han 2026, Sec. 4). `noise` is the paper's scheme;
it moves every feature alike, so it cannot single out a spurious one. `erase` and `swap` intervene
on whole modalities, each with its own rate: a prediction that rests on a modality whose link to
the label is spurious changes when that modality comes from another sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cmir.extensions import view
from cmir.method.networks.replicas import draw_normal, draw_uniform


@view("noise", has_strength=True)
def noise_views(
    features: Tensor, count: int, rates: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """X^(e) = X + alpha_e * rate * eps with eps ~ N(0, I), alpha_e = alpha_1 * e (Eq. 3).

    Args:
        features: `(replica, modality, batch, features)`.
        count: K, number of views.
        rates: `(replica, modality)`, alpha_1 times the rate of the modality.
        generators: one source of randomness per replica.

    Returns:
        `(replica, modality, view, batch, features)`, views e = 1..K.
    """
    _, modalities, batch, size = features.shape
    noise = draw_normal(generators, (modalities, count, batch, size))
    strength = _rising(rates, count) * count
    return features[:, :, None] + strength[..., None, None] * noise


@view("erase", rate=0.5)
def erase_views(
    features: Tensor, count: int, rates: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """A modality's vector is zero with probability `rate * e / K` in view e (do(X_m = 0)).

    Arguments and result as `noise_views`, with rates in [0, 1].
    """
    return features[:, :, None] * ~erased(features, count, rates, generators)[..., None]


@view("swap", rate=0.5)
def swap_views(
    features: Tensor, count: int, rates: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """A modality's vector is another sample's with probability `rate * e / K` in view e.

    The intervention do(X_m = x') with x' from the batch, drawn for each modality apart: it breaks
    the modality's link with the label and keeps its own distribution. Arguments and result as
    `noise_views`, with rates in [0, 1].
    """
    return take(features, swapped(features, count, rates, generators))


def erased(
    features: Tensor, count: int, rates: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """Which vectors `erase_views` takes away: `(replica, modality, view, batch)`."""
    draws = draw_uniform(generators, _sample_shape(features, count))
    return _chosen(count, rates, draws)


def swapped(
    features: Tensor, count: int, rates: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """Whose vector each one is in `swap_views`: `(replica, modality, view, batch)` in the batch."""
    batch = features.shape[2]
    draws = draw_uniform(generators, (2, *_sample_shape(features, count)))
    shift = 1 + (draws[:, 1] * (batch - 1)).long()
    own = torch.arange(batch, device=features.device).expand_as(shift)
    return torch.where(_chosen(count, rates, draws[:, 0]), (own + shift) % batch, own)


def take(vectors: Tensor, sources: Tensor) -> Tensor:
    """Of each view the vectors of its sources.

    A product with a 0/1 matrix, whose gradient is repeatable on every device.

    Args:
        vectors: `(replica, modality, batch, features)`.
        sources: `(replica, modality, view, batch)` places in the batch.

    Returns:
        `(replica, modality, view, batch, features)`.
    """
    selection = torch.eye(vectors.shape[2], device=vectors.device)[sources.flatten(2, 3)]
    return (selection @ vectors).view(*sources.shape, -1)


def _rising(rates: Tensor, count: int) -> Tensor:
    """`(replica, modality) -> (replica, modality, view)`: rate * e / K for e = 1..K."""
    steps = torch.arange(1, count + 1, device=rates.device, dtype=rates.dtype) / count
    return rates[..., None] * steps


def _sample_shape(features: Tensor, count: int) -> tuple[int, int, int]:
    return features.shape[1], count, features.shape[2]


def _chosen(count: int, rates: Tensor, draws: Tensor) -> Tensor:
    return draws < _rising(rates, count)[..., None]
