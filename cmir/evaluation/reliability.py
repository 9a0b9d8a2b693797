"""Whether probabilities are what they say, and how a model serves the groups it serves worst."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cmir.metrics.group_metrics import accuracy_by_group, mae_by_group
from cmir.metrics.metric_inputs import FloatArray, checked_classes, checked_pair

BINS = 15
SHARE = 0.1


def expected_calibration_error(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int = BINS
) -> FloatArray:
    """Mean distance between confidence and accuracy over bins of equal width (Guo et al. 2017).

    ECE = sum over bins of n_b / n * |accuracy_b - confidence_b|, where the confidence is the
    probability of the class decided for, from .5 to 1. Pitfall: with few samples to a bin a
    calibrated model has an error above 0 as well; compare models on the same samples only.

    Args:
        scores: `(replica, n)`, logits of class 1.
        labels: `(n,)`, 0 or 1.
        bins: their number between .5 and 1.

    Returns:
        `(replica,)`, from 0 to 1.

    Raises:
        InputError: empty, of different lengths, not finite, or labels other than 0 and 1.

    >>> float(expected_calibration_error([[4.0, 4.0]], [1, 0]).round(3)[0])
    0.482
    """
    logits, actual = checked_pair(scores, labels, "scores")
    correct = (logits >= 0) == checked_classes(actual)
    confidence = 0.5 * (1 + np.tanh(np.abs(logits) / 2))
    place = np.minimum((2 * confidence - 1) * bins, bins - 1).astype(np.int64)
    gaps = [
        np.abs(np.bincount(row, weights=gap, minlength=bins)).sum()
        for row, gap in zip(place, correct - confidence, strict=True)
    ]
    error: FloatArray = np.array(gaps) / logits.shape[1]
    return error


def tenth_percentile_mae(
    predictions: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike
) -> FloatArray:
    """The mean absolute error that nine of ten groups stay below (WILDS: tenth percentile).

    For many small groups, such as speakers, whose worst is mostly chance.

    Args:
        predictions: `(replica, n)`, in the labels' units.
        labels: `(n,)`.
        groups: `(n,)`, group of each sample.

    Returns:
        `(replica,)`, interpolated between groups.

    Raises:
        InputError: empty, of different lengths, or not finite.
    """
    by_group = mae_by_group(predictions, labels, groups)
    high: FloatArray = np.quantile(by_group, 1 - SHARE, axis=1)
    return high


def tenth_percentile_accuracy(
    scores: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike
) -> FloatArray:
    """The accuracy that nine of ten groups stay above; see `tenth_percentile_mae`.

    Args:
        scores: `(replica, n)`, logits of class 1.
        labels: `(n,)`, 0 or 1.
        groups: `(n,)`, group of each sample.

    Raises:
        InputError: empty, of different lengths, not finite, or labels other than 0 and 1.
    """
    by_group = accuracy_by_group(scores, labels, groups)
    low: FloatArray = np.quantile(by_group, SHARE, axis=1)
    return low
