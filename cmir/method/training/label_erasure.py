"""The label erased from Z_spu in closed form, once a training has ended.

LEACE (Belrose et al. 2023, "LEACE: Perfect linear concept erasure in closed form", Theorem 4.3):
r(z) = mu + P (z - mu) with P = I - C (C' S^+ C)^+ C' S^+, S the covariance of z, C that of z with
the label. Of all affine maps after which no linear map tells the label, it changes z least.
The spurious head is linear, so that r becomes part of its weights; predictions, which are made from
Z_inv, stay what they are. What holds on the training samples need not hold elsewhere, and a deeper
reader than a linear one may still find the label.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from cmir.method.networks.features import Features
from cmir.method.networks.model import Network, Weights
from cmir.method.networks.predictions import CHUNK, shared_inputs

HEAD = "encoder.spurious"


def with_label_erased(
    network: Network, weights: Weights, features: Features, rows: np.ndarray, contrasts: Tensor
) -> dict[str, Tensor]:
    """The weights with another spurious head, of which no linear map tells the label.

    Args:
        network: whose weights they are.
        weights: by name, `(replica, ...)`.
        features: of the data set.
        rows: of the training samples, `(n,)`.
        contrasts: their labels as columns `(n, q)`, see `label_contrasts`.
    """
    head = weights[f"{HEAD}.weight"].double()
    hidden = _Moments.of(network, weights, features, rows, contrasts)
    spread = head.transpose(-1, -2) @ hidden.covariance @ head
    told = head.transpose(-1, -2) @ hidden.with_label
    # C' S^+, `(replica, modality, q, d)`.
    seen = told.transpose(-1, -2) @ torch.linalg.pinv(spread, hermitian=True)
    erased = told @ torch.linalg.pinv(seen @ told, hermitian=True) @ seen
    kept = torch.eye(erased.shape[-1], dtype=erased.dtype, device=erased.device) - erased
    bias = weights[f"{HEAD}.bias"].double()
    mean = hidden.mean[..., None, :] @ head + bias.view(*head.shape[:2], 1, -1)
    moved = (bias.view_as(mean) - mean) @ kept.transpose(-1, -2) + mean
    changed = {f"{HEAD}.weight": head @ kept.transpose(-1, -2), f"{HEAD}.bias": moved}
    same = {name: value.view_as(weights[name]).to(weights[name]) for name, value in changed.items()}
    return {**weights, **same}


class _Moments:
    """Of the encoder's hidden layer: `(replica, modality, ...)`, in float64."""

    def __init__(self, mean: Tensor, covariance: Tensor, with_label: Tensor) -> None:
        self.mean, self.covariance, self.with_label = mean, covariance, with_label

    @classmethod
    def of(
        cls,
        network: Network,
        weights: Weights,
        features: Features,
        rows: np.ndarray,
        contrasts: Tensor,
    ) -> _Moments:
        """Sums over chunks of the samples, so that no hidden layer of all is ever held."""
        sums: list[Tensor] = []
        columns = contrasts.double()
        for place, hidden in _hidden(network, weights, features, rows):
            own = columns[place : place + hidden.shape[2]].to(hidden)
            turned = hidden.transpose(-1, -2)
            found = [hidden.sum(2), turned @ hidden, turned @ own]
            sums = found if not sums else [s + f for s, f in zip(sums, found, strict=True)]
        mean, second, told = (one / len(rows) for one in sums)
        middle = columns.mean(0).to(mean)
        outer = mean[..., :, None] * mean[..., None, :]
        return cls(mean, second - outer, told - mean[..., None] * middle)


def _hidden(
    network: Network, weights: Weights, features: Features, rows: np.ndarray
) -> Iterator[tuple[int, Tensor]]:
    """Hidden layers `(replica, modality, chunk, d')` and where each chunk begins."""
    replicas = next(iter(weights.values())).shape[0]
    size = max(16, CHUNK // replicas)
    index = torch.from_numpy(rows).to(next(iter(weights.values())).device)
    with torch.no_grad():
        for place in range(0, len(rows), size):
            inputs = shared_inputs(features, index[place : place + size], replicas)
            yield place, network.hidden(weights, network.unimodal(weights, inputs)).double()
