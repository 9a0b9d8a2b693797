"""Out-of-distribution scores: how far an input lies from the training features, by modality.

The distance is that of the pooled vector x (time mean over the valid steps, or the vector itself)
from the training features: sqrt(mean_j ((x_j - mean_j) / std_j)^2), with the mean and the standard
deviation that standardise the network's inputs. Means over many steps vary less than steps do, so
that typical distances differ by modality: a distance says something only beside the limit, a
quantile of the training samples' own distances.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # A registered version ships this file, and no data set.
    from cmir.data import DevelopmentData

LEVEL = 0.99

Distances = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float32]


def distance(pooled: Vector, mean: Vector, std: Vector) -> Distances:
    """Root mean squared standardised distance of each sample.

    Args:
        pooled: `(n, D)`, raw units.
        mean: `(D,)` of the training features.
        std: `(D,)` likewise, above 0.

    Returns:
        `(n,)`, in standard deviations of a training feature.

    Example:
        >>> one = np.ones(2, np.float32)
        >>> distance(np.array([[1.0, 1.0], [4.0, -2.0]], np.float32), one, one)
        array([0., 3.])
    """
    standard = (pooled.astype(np.float64) - mean) / std
    root: Distances = np.sqrt(np.square(standard).mean(axis=1))
    return root


def text_distance(pooled: Vector, mean: Vector, std: Vector) -> Distances:
    """The distance of texts for the language model of each seed, its mean over the seeds.

    Args:
        pooled: `(model, n, D)`.
        mean: `(model, D)` of the training samples' token vectors.
        std: likewise, above 0.

    Returns:
        `(n,)`.
    """
    by_model = [distance(*one) for one in zip(pooled, mean, std, strict=True)]
    found: Distances = np.mean(by_model, axis=0)
    return found


def training_limits(data: DevelopmentData, names: Iterable[str]) -> dict[str, float]:
    """The .99 quantile of the training samples' own distances, for each named modality.

    One training sample in a hundred lies beyond it in a modality, so that of samples like those of
    training up to as many per cent as there are modalities are flagged.
    """
    rows, limits = data.train.rows, {}
    for name in names:
        modality = data.modalities[name]
        raw = modality.array if modality.pooled is None else modality.pooled
        own = distance(raw[rows].astype(np.float32), modality.mean, modality.std)
        limits[name] = float(np.quantile(own, LEVEL))
    return limits
