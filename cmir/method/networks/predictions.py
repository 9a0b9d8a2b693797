"""Predictions of a stack of replicas for many samples, nothing perturbed."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from cmir.method.networks.features import Features, Inputs
from cmir.method.networks.model import Network, Weights

# Samples over all replicas that are scored at once, and steps of their sequences.
CHUNK, CHUNK_STEPS = 2048, 16384


def predict(
    network: Network,
    weights: Weights,
    features: Features,
    rows: np.ndarray,
    device: torch.device,
    missing: Collection[str] = (),
) -> Tensor:
    """Predictions `(replica, n)` for the rows `(n,)` of a data set, on the device.

    With several outputs they are the last axis, `(replica, n, outputs)`.

    Of the `missing` modalities the unimodal vector is zero, see `Network.forward`.
    """
    replicas = next(iter(weights.values())).shape[0]
    index = torch.from_numpy(rows).to(device)
    steps = max(getattr(feature, "steps", 1) for feature in features.values())
    chunk_size = max(16, min(CHUNK, CHUNK_STEPS // steps) // replicas)
    with torch.no_grad():
        parts = [
            network.forward(weights, shared_inputs(features, chunk, replicas), missing)
            for chunk in torch.split(index, chunk_size)
        ]
    return torch.cat(parts, dim=1)


def shared_inputs(features: Features, rows: Tensor, replicas: int) -> dict[str, Inputs]:
    """The same samples `(n,)` for every replica, without copying them."""
    given = {name: modality.gather(rows[None]) for name, modality in features.items()}
    return {
        name: Inputs(
            _repeat(one.values, replicas), None if one.mask is None else _repeat(one.mask, replicas)
        )
        for name, one in given.items()
    }


def _repeat(values: Tensor, replicas: int) -> Tensor:
    return values.expand(replicas, *values.shape[1:])
