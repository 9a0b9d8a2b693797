"""Counts of decisions against labels, and what follows from counts: F1, shares, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.metrics.metric_inputs import FloatArray

BINS = 15

IntArray = npt.NDArray[np.int64]
Counts = npt.NDArray[Any]


def confusions(decided: IntArray, actual: IntArray, count: int) -> Counts:
    """How often each class was taken for each: `(replica, C, C)`, rows by the label.

    Args:
        decided: `(replica, n)`, numbers of classes.
        actual: `(n,)`.
        count: C.

    Example:
        >>> confusions(np.array([[0, 1, 1]]), np.array([0, 0, 1]), 2).tolist()
        [[[1, 1], [0, 1]]]
    """
    replicas = len(decided)
    places = (np.arange(replicas)[:, None] * count + actual) * count + decided
    found = np.bincount(places.ravel(), minlength=replicas * count * count)
    return found.reshape(replicas, count, count)


def ratio(above: Counts, below: Counts) -> FloatArray:
    """A quotient; 0 where there is nothing to divide by."""
    return np.asarray(np.where(below > 0, above / np.where(below > 0, below, 1), 0.0), np.float64)


def f1_of_counts(hits: Counts, support: Counts, said: Counts) -> FloatArray:
    """F1 = 2 TP / (actual + said); 0 where a class is neither."""
    return ratio(2 * hits, support + said)


def mean_where(values: FloatArray, counts: npt.NDArray[np.bool_]) -> FloatArray:
    """Mean along the last axis over what counts; NaN where nothing does."""
    number = counts.sum(-1)
    total = np.where(counts, values, 0.0).sum(-1)
    mean: FloatArray = total / np.where(number > 0, number, np.nan)
    return mean


def calibration_error(
    probabilities: FloatArray, labels: npt.NDArray[Any], bins: int = BINS
) -> FloatArray:
    """Mean distance between confidence and accuracy over bins (Guo et al. 2017), `(replica,)`.

    The confidence is the probability of the class decided for, between 1/C and 1, where the bins of
    equal width are. With two classes it is `expected_calibration_error`.

    Args:
        probabilities: `(replica, n, C)`.
        labels: `(n,)`, numbers of classes.
        bins: their number.
    """
    count = probabilities.shape[-1]
    confidence, correct = probabilities.max(-1), probabilities.argmax(-1) == labels
    place = ((count * confidence - 1) / (count - 1) * bins).clip(0, bins - 1).astype(np.int64)
    gaps = [
        np.abs(np.bincount(row, weights=gap, minlength=bins)).sum()
        for row, gap in zip(place, correct - confidence, strict=True)
    ]
    error: FloatArray = np.array(gaps) / probabilities.shape[1]
    return error
