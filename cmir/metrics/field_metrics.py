"""Metrics as the field computes them, for one vector of predictions or a stack of replicas.

The trainer asks for these after every epoch, so they are plain numpy over a leading replica axis;
the tests hold each against scikit-learn and scipy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from cmir.errors import InputError
from cmir.metrics.metric_inputs import (
    BoolArray,
    FloatArray,
    checked_classes,
    checked_pair,
    checked_stack,
)

Metrics = dict[str, FloatArray]

Direction = Literal["min", "max"]

METRIC_DIRECTION: Mapping[str, Direction] = {
    "mae": "min",
    "corr": "max",
    "acc7": "max",
    "acc5": "max",
    "acc3": "max",
    "acc2": "max",
    "acc2_has0": "max",
    "acc2_non0": "max",
    "f1": "max",
    "f1_has0": "max",
    "f1_non0": "max",
    "accuracy": "max",
    "auc": "max",
    "brier": "min",
    "log_loss": "min",
    "worst_environment_mae": "min",
    "worst_environment_accuracy": "max",
    "tenth_percentile_mae": "min",
    "tenth_percentile_accuracy": "max",
    "ece": "min",
}

MOSI_RANGE = (-3.0, 3.0)
SIMS_RANGE = (-1.0, 1.0)
ACC3_CUTS = (-0.1, 0.1)
ACC5_CUTS = (-0.7, -0.1, 0.1, 0.7)


def direction(metric: str) -> Direction:
    """Whether a smaller ("min") or a larger ("max") value of the metric is better.

    Args:
        metric: a name without its split, such as "mae".

    Raises:
        InputError: the metric is unknown.

    >>> direction("corr")
    'max'
    """
    if metric not in METRIC_DIRECTION:
        known = ", ".join(METRIC_DIRECTION)
        raise InputError(f"metric: must be one of {known}, but got {metric!r}.")
    return METRIC_DIRECTION[metric]


def regression_metrics(
    predictions: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    label_range: tuple[float, float] | None = MOSI_RANGE,
) -> dict[str, float]:
    """Metrics of one vector of predicted sentiments.

    Args:
        predictions: `(n,)`, in the labels' units.
        labels: `(n,)`.
        label_range: which scale the labels have, and with it which metrics there are; see
            `regression_metrics_by_replica`.

    Raises:
        InputError: empty, of different lengths, or not finite.

    >>> metrics = regression_metrics([0.4, -2.6, 1.2], [1.0, -3.0, 0.0])
    >>> metrics["acc7"], metrics["acc2_non0"]
    (0.3333333333333333, 1.0)
    """
    stacked = _as_one_replica(predictions)
    return _only_replica(regression_metrics_by_replica(stacked, labels, label_range=label_range))


def regression_metrics_by_replica(
    predictions: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    label_range: tuple[float, float] | None = MOSI_RANGE,
) -> Metrics:
    """Metrics of each replica's predicted sentiments, each of shape `(replica,)`.

    Always `mae` and `corr` (Pearson). By the scale of the labels, as MMSA computes them:

    - [-3, 3], MOSI and MOSEI: `acc7` and `acc5` compare after clipping to 3 and 2 and rounding
      halves to even; `acc2_has0`, `f1_has0` compare `>= 0` on all samples; `acc2_non0`, `f1_non0`
      compare `> 0` on the samples whose label is not 0. `mae` and `corr` are not clipped.
    - [-1, 1], CH-SIMS: all are of predictions and labels clipped to the scale; `acc2` and `f1` cut
      at 0, `acc3` at -.1 and .1, `acc5` at -.7, -.1, .1 and .7, a value on a cut belonging below.
    - any other, or None: `mae` and `corr` alone.

    F1 is the mean over both classes weighted by their number of labels. Where predictions or labels
    are constant `corr` is 0, so that a collapsed model ranks as uninformed. Where every label is 0
    the `_non0` metrics are NaN: nothing was measured.

    Args:
        predictions: `(replica, n)`, in the labels' units.
        labels: `(n,)`.
        label_range: lowest and highest label of the scale.

    Raises:
        InputError: empty, of different lengths, or not finite.
    """
    predicted, actual = checked_pair(predictions, labels, "predictions")
    if label_range == SIMS_RANGE:
        predicted, actual = predicted.clip(*SIMS_RANGE), actual.clip(*SIMS_RANGE)
    metrics = {
        "mae": np.abs(predicted - actual).mean(axis=1),
        "corr": _pearson(predicted, actual),
    }
    if label_range == MOSI_RANGE:
        metrics |= _mosi_accuracies(predicted, actual)
    elif label_range == SIMS_RANGE:
        metrics |= _sims_accuracies(predicted, actual)
    return metrics


def classification_metrics(scores: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
    """Metrics of one vector of binary logits.

    Args:
        scores: `(n,)`, logits of class 1.
        labels: `(n,)`, 0 or 1.

    Raises:
        InputError: empty, of different lengths, not finite, or labels other than 0 and 1.

    >>> metrics = classification_metrics([2.0, -1.0, 0.5], [1, 0, 0])
    >>> metrics["accuracy"], metrics["auc"]
    (0.6666666666666666, 1.0)
    """
    return _only_replica(classification_metrics_by_replica(_as_one_replica(scores), labels))


def classification_metrics_by_replica(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Metrics:
    """Metrics of each replica's binary logits, each of shape `(replica,)`.

    `accuracy` and `f1` (weighted by the number of labels) decide for class 1 from a logit of 0 on;
    `auc` is the probability that a positive is scored above a negative, ties counting half, and NaN
    where one class is absent; `brier` and `log_loss` (nats) are of the sigmoid of the scores.

    Args:
        scores: `(replica, n)`, logits of class 1.
        labels: `(n,)`, 0 or 1.

    Raises:
        InputError: empty, of different lengths, not finite, or labels other than 0 and 1.
    """
    logits, actual = checked_pair(scores, labels, "scores")
    positive = checked_classes(actual)
    decided = logits >= 0
    probability = 0.5 * (1 + np.tanh(logits / 2))
    return {
        "accuracy": (decided == positive).mean(axis=1),
        "f1": _weighted_f1(decided, positive),
        "auc": _area_under_curve(logits, positive),
        "brier": np.square(probability - actual).mean(axis=1),
        "log_loss": (np.logaddexp(0, logits) - actual * logits).mean(axis=1),
    }


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
    predicted, actual = checked_pair(predictions, labels, "predictions")
    worst: FloatArray = group_means(np.abs(predicted - actual), environments).max(axis=1)
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
    logits, actual = checked_pair(scores, labels, "scores")
    correct = (logits >= 0) == checked_classes(actual)
    worst: FloatArray = group_means(correct, environments).min(axis=1)
    return worst


def _mosi_accuracies(predicted: FloatArray, actual: FloatArray) -> Metrics:
    not_neutral = actual != 0
    decided, positive = predicted[:, not_neutral] > 0, actual[not_neutral] > 0
    return {
        "acc7": _mean_or_nan(same_when_rounded(predicted, actual, 3)),
        "acc5": _mean_or_nan(same_when_rounded(predicted, actual, 2)),
        "acc2_has0": ((predicted >= 0) == (actual >= 0)).mean(axis=1),
        "acc2_non0": _mean_or_nan(decided == positive),
        "f1_has0": _weighted_f1(predicted >= 0, actual >= 0),
        "f1_non0": _weighted_f1(decided, positive),
    }


def _sims_accuracies(predicted: FloatArray, actual: FloatArray) -> Metrics:
    return {
        "acc2": ((predicted > 0) == (actual > 0)).mean(axis=1),
        "acc3": _mean_or_nan(same_bin(predicted, actual, ACC3_CUTS)),
        "acc5": _mean_or_nan(same_bin(predicted, actual, ACC5_CUTS)),
        "f1": _weighted_f1(predicted > 0, actual > 0),
    }


def same_when_rounded(predicted: FloatArray, actual: FloatArray, bound: float) -> BoolArray:
    """Where predictions `(replica, n)` round to the class of the labels `(n,)`, both clipped."""
    agree: BoolArray = np.rint(predicted.clip(-bound, bound)) == np.rint(actual.clip(-bound, bound))
    return agree


def same_bin(predicted: FloatArray, actual: FloatArray, cuts: tuple[float, ...]) -> BoolArray:
    """Where predictions `(replica, n)` lie between the same cuts as the labels `(n,)`."""
    # A label stored as float32 .1 lies above the float64 .1: only in float32 is it on the cut.
    edges = np.array(cuts, np.float32)
    predicted_bin = np.searchsorted(edges, predicted.astype(np.float32), side="left")
    actual_bin = np.searchsorted(edges, actual.astype(np.float32), side="left")
    agree: BoolArray = predicted_bin == actual_bin
    return agree


def _mean_or_nan(agree: BoolArray) -> FloatArray:
    if agree.shape[1] == 0:
        return np.full(agree.shape[0], np.nan)
    mean: FloatArray = agree.mean(axis=1)
    return mean


def _pearson(predicted: FloatArray, actual: FloatArray) -> FloatArray:
    x, x_norm, x_constant = _centred(predicted)
    y, y_norm, y_constant = _centred(actual)
    constant = x_constant | y_constant
    r = (x @ y) / np.where(constant, 1.0, x_norm * y_norm)
    return np.where(constant, 0.0, r.clip(-1, 1))


def _centred(values: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Values less their mean, the norm of that, and whether it is rounding alone."""
    mean = values.mean(axis=-1, keepdims=True)
    centred = values - mean
    norm = np.sqrt(np.square(centred).sum(axis=-1))
    return centred, norm, norm <= 1e-13 * np.sqrt(values.shape[-1]) * np.abs(mean[..., 0])


def _weighted_f1(decided: BoolArray, positive: BoolArray) -> FloatArray:
    """F1 of both classes weighted by support: `decided` `(replica, n)`, `positive` `(n,)`."""
    n = len(positive)
    if n == 0:
        return np.full(decided.shape[0], np.nan)
    n_positive = np.count_nonzero(positive)
    said_positive = np.count_nonzero(decided, axis=1)
    hits = np.count_nonzero(decided & positive, axis=1)
    rejections = n - n_positive - said_positive + hits
    # F1 = 2 TP / (actual + said); a class with no labels has weight 0, so 1 may stand in below.
    f1_positive = 2 * hits / np.maximum(n_positive + said_positive, 1)
    f1_negative = 2 * rejections / np.maximum(2 * n - n_positive - said_positive, 1)
    weighted: FloatArray = (n_positive * f1_positive + (n - n_positive) * f1_negative) / n
    return weighted


def _area_under_curve(scores: FloatArray, positive: BoolArray) -> FloatArray:
    if positive.all() or not positive.any():
        return np.full(scores.shape[0], np.nan)
    positives, negatives = np.sort(scores[:, positive]), np.sort(scores[:, ~positive])
    return np.array([_win_rate(*pair) for pair in zip(positives, negatives, strict=True)])


def _win_rate(positives: FloatArray, sorted_negatives: FloatArray) -> float:
    below = np.searchsorted(sorted_negatives, positives, side="left")
    not_above = np.searchsorted(sorted_negatives, positives, side="right")
    return float((below + not_above).mean() / (2 * len(sorted_negatives)))


def _as_one_replica(values: npt.ArrayLike) -> npt.NDArray[np.generic]:
    return np.asarray(values)[np.newaxis]


def _only_replica(metrics: Metrics) -> dict[str, float]:
    return {name: float(value[0]) for name, value in metrics.items()}
