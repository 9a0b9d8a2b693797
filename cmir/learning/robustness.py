"""How a model's predictions change when its inputs are damaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cmir.errors import InputError
from cmir.learning.corruptions import gaussian_noise
from cmir.learning.features import Features
from cmir.learning.model import Network, Weights
from cmir.learning.subject import subjects

NOISE_RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def noisy_predictions(
    network: Network,
    weights: Weights,
    features: Features,
    rows: np.ndarray,
    device: torch.device,
    rates: Sequence[float] = NOISE_RATES,
    seed: int = 0,
) -> Tensor:
    """Predictions under X' = (1 - NR) X + NR eps, eps ~ N(0, I), on every X_m (Eq. 14).

    Every replica and every rate sees the same noise, so that models are compared on it in pairs.

    Args:
        network: the shape of the networks.
        weights: by name, `(replica, ...)`.
        features: of all modalities, by row.
        rows: `(n,)`, rows into the features. The noise of a sample depends on its place in them.
        device: where features and weights are.
        rates: NR, each in [0, 1]; 0 is the undamaged prediction.
        seed: of the noise.

    Returns:
        `(rate, replica, n)` scores in label units, or logits.

    Raises:
        InputError: no rates, or a rate outside [0, 1].
    """
    if not rates or not all(0 <= rate <= 1 for rate in rates):
        raise InputError(f"rates: must be numbers from 0 to 1, at least one, but got {rates}.")
    strength = torch.tensor(rates, device=device)[:, None, None]
    blocks = []
    with torch.no_grad():
        for subject in subjects(network, weights, features, rows, device, seed):
            clean = subject.vectors[:, :, None]
            noise = gaussian_noise(subject)[:, None]
            damaged = (1 - strength) * clean + strength * noise
            scores = subject.predict(damaged.flatten(2, 3))
            blocks.append(scores.view(len(scores), len(rates), -1).transpose(0, 1))
    return torch.cat(blocks, dim=-1)
