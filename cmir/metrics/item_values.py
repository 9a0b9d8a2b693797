"""Values of single samples whose means are metrics, such as absolute errors: a function for each.

The metric is the mean of these values; a bootstrap of it resamples them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from cmir.metrics.metric_inputs import BoolArray, FloatArray, checked_classes, checked_pair

PerItem = Callable[[FloatArray, FloatArray], npt.NDArray[np.generic]]
LabelRange = tuple[float, float] | None

MOSI_RANGE = (-3.0, 3.0)
SIMS_RANGE = (-1.0, 1.0)
ACC3_CUTS = (-0.1, 0.1)
ACC5_CUTS = (-0.7, -0.1, 0.1, 0.7)


def regression_item_values(
    predictions: npt.ArrayLike,
    labels: npt.ArrayLike,
    metric: str,
    *,
    label_range: LabelRange = MOSI_RANGE,
) -> FloatArray | None:
    """Values whose mean over the samples, NaN left out, is a metric of `regression_metrics`.

    Args:
        predictions: `(replica, n)`, in label units.
        labels: `(n,)`.
        metric: a name without its split, such as "acc2_non0".
        label_range: scale of the labels.

    Returns:
        `(replica, n)`, NaN for a sample that does not count (neutral in `acc2_non0`); None if the
        metric is no mean over samples (`corr`, `f1`, ...).

    Raises:
        InputError: empty, of different lengths, or not finite.

    >>> regression_item_values([[0.5, -1.0]], [1.0, 0.0], "acc2_non0")
    array([[ 1., nan]])
    """
    predicted, actual = checked_pair(predictions, labels, "predictions")
    predicted, actual = on_the_scale(predicted, actual, label_range)
    return _values(regression_items(label_range), predicted, actual, metric)


def classification_item_values(
    scores: npt.ArrayLike, labels: npt.ArrayLike, metric: str
) -> FloatArray | None:
    """Values whose mean over the samples is a metric of `classification_metrics`.

    Args:
        scores: `(replica, n)`, logits of class 1.
        labels: `(n,)`, 0 or 1.
        metric: a name without its split, such as "accuracy".

    Returns:
        `(replica, n)`; None if the metric is no mean over samples (`f1`, `auc`).

    Raises:
        InputError: empty, of different lengths, not finite, or labels other than 0 and 1.

    >>> classification_item_values([[0.5, -1.0]], [1.0, 1.0], "accuracy")
    array([[1., 0.]])
    """
    logits, actual = checked_pair(scores, labels, "scores")
    checked_classes(actual)
    return _values(BINARY_ITEMS, logits, actual, metric)


def regression_items(label_range: LabelRange) -> Mapping[str, PerItem]:
    """The functions of a regression whose labels have this scale, by name of the metric."""
    return _ANY_SCALE | _OF_SCALE.get(label_range, {})


def on_the_scale(
    predicted: FloatArray, actual: FloatArray, label_range: LabelRange
) -> tuple[FloatArray, FloatArray]:
    """Predictions and labels as their metrics take them: those of CH-SIMS are clipped."""
    if label_range == SIMS_RANGE:
        return predicted.clip(*SIMS_RANGE), actual.clip(*SIMS_RANGE)
    return predicted, actual


def means_over_items(
    known: Mapping[str, PerItem], predicted: FloatArray, actual: FloatArray
) -> dict[str, FloatArray]:
    """The metric of each function, `(replica,)`; NaN where no sample counts."""
    return {name: _mean(per_item(predicted, actual)) for name, per_item in known.items()}


def _values(
    known: Mapping[str, PerItem], predicted: FloatArray, actual: FloatArray, metric: str
) -> FloatArray | None:
    if metric not in known:
        return None
    return np.asarray(known[metric](predicted, actual), np.float64)


def _mean(values: npt.NDArray[np.generic]) -> FloatArray:
    means: FloatArray = values.mean(axis=1)
    if not np.isnan(means).any():
        return means
    counted = np.count_nonzero(~np.isnan(values), axis=1)
    means = np.nansum(values, axis=1) / np.where(counted, counted, np.nan)
    return means


def _same_when_rounded(predicted: FloatArray, actual: FloatArray, bound: float) -> BoolArray:
    agree: BoolArray = np.rint(predicted.clip(-bound, bound)) == np.rint(actual.clip(-bound, bound))
    return agree


def _same_bin(predicted: FloatArray, actual: FloatArray, cuts: tuple[float, ...]) -> BoolArray:
    # A label stored as float32 .1 lies above the float64 .1: only in float32 is it on the cut.
    edges = np.array(cuts, np.float32)
    predicted_bin = np.searchsorted(edges, predicted.astype(np.float32), side="left")
    actual_bin = np.searchsorted(edges, actual.astype(np.float32), side="left")
    agree: BoolArray = predicted_bin == actual_bin
    return agree


def _without_neutral(predicted: FloatArray, actual: FloatArray) -> FloatArray:
    return np.where(actual != 0, (predicted > 0) == (actual > 0), np.nan)


def _squared_error(logits: FloatArray, actual: FloatArray) -> FloatArray:
    squared: FloatArray = np.square(0.5 * (1 + np.tanh(logits / 2)) - actual)
    return squared


_ANY_SCALE: dict[str, PerItem] = {"mae": lambda p, y: np.abs(p - y)}
_OF_SCALE: dict[LabelRange, dict[str, PerItem]] = {
    MOSI_RANGE: {
        "acc7": lambda p, y: _same_when_rounded(p, y, 3),
        "acc5": lambda p, y: _same_when_rounded(p, y, 2),
        "acc2_has0": lambda p, y: (p >= 0) == (y >= 0),
        "acc2_non0": _without_neutral,
    },
    SIMS_RANGE: {
        "acc2": lambda p, y: (p > 0) == (y > 0),
        "acc3": lambda p, y: _same_bin(p, y, ACC3_CUTS),
        "acc5": lambda p, y: _same_bin(p, y, ACC5_CUTS),
    },
}
BINARY_ITEMS: dict[str, PerItem] = {
    "accuracy": lambda z, y: (z >= 0) == (y == 1),
    "brier": _squared_error,
    "log_loss": lambda z, y: np.logaddexp(0, z) - y * z,
}
