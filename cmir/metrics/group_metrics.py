"""Metrics by group of samples: means within groups, and the environment that fares worst."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cmir.errors import InputError
from cmir.metrics.metric_inputs import FloatArray, checked_classes, checked_pair, checked_stack


def group_means(values: npt.ArrayLike, groups: npt.ArrayLike) -> FloatArray:
    """Mean of each replica's values within each group.

    Args:
        values: `(replica, n)`, such as absolute errors.
        groups: `(n,)`, group of each sample: whole numbers or text.

    Returns:
        `(replica, group)`, over the groups that have a sample, in sorted order.

    Raises:
        InputError: empty, of different lengths, or not finite.

    >>> group_means([[1.0, 3.0, 5.0]], ["a", "a", "b"])
    array([[2., 5.]])
    """
    checked = checked_stack(values, "values")
    present, codes, sizes = np.unique(
        np.asarray(groups), return_inverse=True, return_counts=True, equal_nan=False
    )
    if codes.shape != checked.shape[1:]:
        raise InputError(
            f"groups: must have one entry for each of the {checked.shape[1]} values, but got shape "
            f"{codes.shape}."
        )
    sums = [np.bincount(codes, weights=row, minlength=len(present)) for row in checked]
    return np.stack(sums) / sizes


def mae_by_group(
    predictions: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike
) -> FloatArray:
    """Mean absolute error of each replica within each group, `(replica, group)`; see `group_means`.

    Args:
        predictions: `(replica, n)`, in the labels' units.
        labels: `(n,)`.
        groups: `(n,)`, group of each sample.

    Raises:
        InputError: empty, of different lengths, or not finite.
    """
    predicted, actual = checked_pair(predictions, labels, "predictions")
    return group_means(np.abs(predicted - actual), groups)


def accuracy_by_group(
    scores: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike
) -> FloatArray:
    """Accuracy of each replica within each group, `(replica, group)`; see `group_means`.

    Args:
        scores: `(replica, n)`, logits of class 1.
        labels: `(n,)`, 0 or 1.
        groups: `(n,)`, group of each sample.

    Raises:
        InputError: empty, of different lengths, not finite, or labels other than 0 and 1.
    """
    logits, actual = checked_pair(scores, labels, "scores")
    return group_means((logits >= 0) == checked_classes(actual), groups)


def worst_environment_mae(
    predictions: npt.ArrayLike, labels: npt.ArrayLike, environments: npt.ArrayLike
) -> FloatArray:
    """The largest mean absolute error that a replica makes in any one environment.

    Args:
        predictions: `(replica, n)`, in the labels' units.
        labels: `(n,)`.
        environments: `(n,)`, environment of each sample; those without a sample do not count
            (Koh et al. 2021, WILDS).

    Returns:
        `(replica,)`.

    Raises:
        InputError: empty, of different lengths, or not finite.
    """
    worst: FloatArray = mae_by_group(predictions, labels, environments).max(axis=1)
    return worst


def worst_environment_accuracy(
    scores: npt.ArrayLike, labels: npt.ArrayLike, environments: npt.ArrayLike
) -> FloatArray:
    """The lowest accuracy that a replica has in any one environment; see `worst_environment_mae`.

    Args:
        scores: `(replica, n)`, logits of class 1.
        labels: `(n,)`, 0 or 1.
        environments: `(n,)`, environment of each sample.

    Returns:
        `(replica,)`.

    Raises:
        InputError: empty, of different lengths, not finite, or labels other than 0 and 1.
    """
    worst: FloatArray = accuracy_by_group(scores, labels, environments).min(axis=1)
    return worst
