"""Metrics as the field computes them, for one vector of predictions or a stack of replicas.

The trainer asks for these after every epoch, so they are plain numpy over a leading replica axis;
the tests hold each against scikit-learn and scipy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cmir.metrics.item_values import (
    BINARY_ITEMS,
    MOSI_RANGE,
    SIMS_RANGE,
    LabelRange,
    means_over_items,
    on_the_scale,
    regression_items,
)
from cmir.metrics.metric_inputs import FloatArray, checked_classes, checked_pair
from cmir.metrics.whole_set_metrics import area_under_curve, pearson, weighted_f1

Metrics = dict[str, FloatArray]


def regression_metrics(
    predictions: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    label_range: LabelRange = MOSI_RANGE,
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
    label_range: LabelRange = MOSI_RANGE,
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
    predicted, actual = on_the_scale(predicted, actual, label_range)
    means = means_over_items(regression_items(label_range), predicted, actual)
    return {
        "mae": means.pop("mae"),
        "corr": pearson(predicted, actual),
        **means,
        **_f1_of_scale(predicted, actual, label_range),
    }


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
    means = means_over_items(BINARY_ITEMS, logits, actual)
    return {
        "accuracy": means.pop("accuracy"),
        "f1": weighted_f1(logits >= 0, positive),
        "auc": area_under_curve(logits, positive),
        **means,
    }


def _f1_of_scale(predicted: FloatArray, actual: FloatArray, label_range: LabelRange) -> Metrics:
    if label_range == SIMS_RANGE:
        return {"f1": weighted_f1(predicted > 0, actual > 0)}
    if label_range != MOSI_RANGE:
        return {}
    not_neutral = actual != 0
    return {
        "f1_has0": weighted_f1(predicted >= 0, actual >= 0),
        "f1_non0": weighted_f1(predicted[:, not_neutral] > 0, actual[not_neutral] > 0),
    }


def _as_one_replica(values: npt.ArrayLike) -> npt.NDArray[np.generic]:
    return np.asarray(values)[np.newaxis]


def _only_replica(metrics: Metrics) -> dict[str, float]:
    return {name: float(value[0]) for name, value in metrics.items()}
