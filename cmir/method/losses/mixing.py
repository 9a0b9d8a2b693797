"""Mixup across environments: samples between two samples of different environments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from scipy import stats
from torch import Tensor

from cmir.method.networks.replicas import draw_uniform

QUANTILES = 4096


def partners(groups: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """For each sample another one, drawn among those of other environments in its batch.

    A sample that finds none is its own partner.

    Args:
        groups: `(replica, batch)`, the environment of each sample.
        generators: one for each replica.

    Returns:
        `(replica, batch)`, places in the batch.
    """
    batch = groups.shape[1]
    draws = draw_uniform(generators, (batch, batch))
    others = groups[:, :, None] != groups[:, None]
    chosen = torch.where(others, draws, -1.0).argmax(2)
    own = torch.arange(batch, device=groups.device)
    return torch.where(others.any(2), chosen, own)


def shares(batch: int, concentration: float, generators: Sequence[torch.Generator]) -> Tensor:
    """How much of itself each sample keeps: `(replica, batch)`, drawn from Beta(alpha, alpha)."""
    draws = draw_uniform(generators, (batch,))
    table = _beta_quantiles(concentration).to(draws.device)
    return table[(draws * QUANTILES).long()]


def mixed(vectors: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """x~_i = lambda_i x_i + (1 - lambda_i) x_j(i) (Zhang et al. 2018, "mixup", Eq. 1).

    Between environments, as Xu et al. 2020 and Gulrajani and Lopez-Paz 2021 mix them; on the
    unimodal vectors X_m, because sequences of several lengths have nothing between them (Verma et
    al. 2019, "Manifold Mixup").

    Args:
        vectors: `(replica, modality, batch, features)`.
        partner: `(replica, batch)`, j(i).
        share: `(replica, batch)`, lambda_i.
    """
    # A product with a matrix, whose gradient is repeatable on every device.
    chosen = torch.eye(partner.shape[1], device=vectors.device)[partner]
    mix = torch.diag_embed(share) + (1 - share)[..., None] * chosen
    return mix[:, None] @ vectors


def of_partners(labels: Tensor, partner: Tensor) -> Tensor:
    """The labels of the partners: `(replica, batch)` or, of several, `(replica, batch, C)`."""
    return labels[torch.arange(len(labels), device=labels.device)[:, None], partner]


@lru_cache(maxsize=64)
def _beta_quantiles(concentration: float) -> Tensor:
    """So many quantiles of Beta(alpha, alpha), of which one is drawn."""
    places = (torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES
    found = stats.beta.ppf(places.numpy(), concentration, concentration)
    return torch.from_numpy(found).float()
