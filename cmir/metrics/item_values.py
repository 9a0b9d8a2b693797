"""What single samples add to a metric that is a mean over samples.

A bootstrap of such a metric resamples these values; the metric itself need not be computed again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cmir.metrics.field_metrics import (
    ACC3_CUTS,
    ACC5_CUTS,
    MOSI_RANGE,
    SIMS_RANGE,
    same_bin,
    same_when_rounded,
)
from cmir.metrics.metric_inputs import FloatArray, checked_classes, checked_pair

PerItem = Callable[[FloatArray, FloatArray], npt.NDArray[np.generic]]


def item_values(
    predictions: npt.ArrayLike,
    labels: npt.ArrayLike,
    metric: str,
    *,
    task: str = "regression",
    label_range: tuple[float, float] | None = MOSI_RANGE,
) -> FloatArray | None:
    """Values whose mean over the samples, NaN left out, is a metric of `field_metrics`.

    Args:
        predictions: `(replica, n)`, in label units, or logits.
        labels: `(n,)`.
        metric: a name without its split, such as "acc2_non0".
        task: `regression` or `binary`.
        label_range: scale of a regression's labels.

    Returns:
        `(replica, n)`, NaN for a sample that does not count (neutral in `acc2_non0`); None if the
        metric is no mean over samples (`corr`, `f1`, `auc`, ...).

    Raises:
        InputError: empty, of different lengths, or not finite.

    >>> item_values([[0.5, -1.0]], [1.0, 0.0], "acc2_non0")
    array([[ 1., nan]])
    """
    predicted, actual = checked_pair(predictions, labels, "predictions")
    if task == "binary":
        checked_classes(actual)
        known = _BINARY
    elif label_range == SIMS_RANGE:
        predicted, actual = predicted.clip(*SIMS_RANGE), actual.clip(*SIMS_RANGE)
        known = _REGRESSION | _SIMS
    else:
        known = _REGRESSION | (_MOSI if label_range == MOSI_RANGE else {})
    if metric not in known:
        return None
    return np.asarray(known[metric](predicted, actual), np.float64)


def _without_neutral(predicted: FloatArray, actual: FloatArray) -> FloatArray:
    return np.where(actual != 0, (predicted > 0) == (actual > 0), np.nan)


def _squared_error(logits: FloatArray, actual: FloatArray) -> FloatArray:
    squared: FloatArray = np.square(0.5 * (1 + np.tanh(logits / 2)) - actual)
    return squared


_REGRESSION: dict[str, PerItem] = {"mae": lambda p, y: np.abs(p - y)}
_MOSI: dict[str, PerItem] = {
    "acc7": lambda p, y: same_when_rounded(p, y, 3),
    "acc5": lambda p, y: same_when_rounded(p, y, 2),
    "acc2_has0": lambda p, y: (p >= 0) == (y >= 0),
    "acc2_non0": _without_neutral,
}
_SIMS: dict[str, PerItem] = {
    "acc2": lambda p, y: (p > 0) == (y > 0),
    "acc3": lambda p, y: same_bin(p, y, ACC3_CUTS),
    "acc5": lambda p, y: same_bin(p, y, ACC5_CUTS),
}
_BINARY: dict[str, PerItem] = {
    "accuracy": lambda z, y: (z >= 0) == (y == 1),
    "brier": _squared_error,
    "log_loss": lambda z, y: np.logaddexp(0, z) - y * z,
}
