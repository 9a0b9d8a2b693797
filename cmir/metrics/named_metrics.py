"""Metrics of classes and of several labels at once, for a stack of replicas.

Scores are logits `(replica, n, C)` with an axis over the C names. Plain numpy over the replicas,
as the trainer asks after every epoch; the tests hold each against scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.metrics.confusion import calibration_error, confusions, f1_of_counts, mean_where, ratio
from cmir.metrics.metric_inputs import BoolArray, FloatArray, checked_labels, checked_numbers
from cmir.metrics.whole_set_metrics import area_under_curve, average_precision, weighted_f1

Metrics = dict[str, FloatArray]
PerItem = Callable[[FloatArray, FloatArray], npt.NDArray[Any]]
Value = Callable[[], FloatArray]


def class_metrics_by_replica(
    scores: npt.ArrayLike, labels: npt.ArrayLike, names: Sequence[str], only: str = ""
) -> Metrics:
    """Metrics of each replica's classes, each `(replica,)`; the largest logit decides.

    `accuracy`; `uar`, the mean recall of the classes that have samples; F1 weighted by their number
    (`weighted_f1`), averaged over classes that occur in labels or predictions (`macro_f1`), and of
    each class (`f1_<name>`, 0 where it does not occur); `mcc`, the correlation of Matthews for
    several classes (Gorodkin 2004), 0 where labels or predictions are constant; `log_loss` in nats;
    `ece`, the calibration error of the class decided for.

    Args:
        scores: `(replica, n, C)`.
        labels: `(n,)`, numbers of the classes.
        names: of the C classes.
        only: the one metric that is wanted; empty: all.

    Raises:
        InputError: empty, of different lengths, not finite, or a label without a name.
    """
    logits, actual = checked_numbers(scores, labels)
    counts = confusions(logits.argmax(-1), actual.astype(np.int64), len(names))
    hits = np.diagonal(counts, axis1=1, axis2=2)
    support, said = counts.sum(2), counts.sum(1)
    f1 = f1_of_counts(hits, support, said)
    known: dict[str, Value] = {
        "accuracy": lambda: _right(logits, actual).mean(1),
        "uar": lambda: mean_where(ratio(hits, support), support > 0),
        "weighted_f1": lambda: (f1 * support).sum(1) / len(actual),
        "macro_f1": lambda: mean_where(f1, support + said > 0),
        "mcc": lambda: _matthews(hits, support, said),
        "log_loss": lambda: _class_log_loss(logits, actual).mean(1),
        "ece": lambda: calibration_error(probabilities_of_classes(logits), actual),
    }
    known |= {f"f1_{name}": _column(lambda: f1, number) for number, name in enumerate(names)}
    return _computed(known, only)


def label_metrics_by_replica(
    scores: npt.ArrayLike, labels: npt.ArrayLike, names: Sequence[str], only: str = ""
) -> Metrics:
    """Metrics of each replica's labels of which several may hold; a logit of 0 decides for one.

    `label_accuracy`, the share of right decisions over samples and labels; `weighted_accuracy`,
    (TP N / P + TN) / 2N of each label, as the papers on the emotions of CMU-MOSEI have it (Tong et
    al. 2017), P and N the samples that have the label and that do not: the mean of both recalls;
    `micro_f1` of all decisions, `macro_f1` the mean of the labels' F1, `weighted_f1` the mean of
    F1 over yes and no of each; `auroc`; `average_precision`; `log_loss` in nats and `ece`, the
    calibration error of yes and no, means over labels. Each label alone as `<metric>_<name>`. Where
    all samples or none have a label the weighted accuracy, `auroc` and `average_precision` of it
    are NaN and do not count in the mean.

    Args:
        scores: `(replica, n, C)`.
        labels: `(n, C)`, 0 or 1.
        names: of the C labels.
        only: the one metric that is wanted; empty: all.

    Raises:
        InputError: empty, of different shapes, not finite, or labels other than 0 and 1.
    """
    logits, positive = checked_labels(scores, labels)
    decided = logits >= 0
    hits = (decided & positive).sum(1)
    support, said = np.broadcast_to(positive.sum(0), hits.shape), decided.sum(1)
    actual = positive.astype(np.float64)
    each: dict[str, Value] = {
        "weighted_accuracy": cache(lambda: _weighted_accuracy(decided, positive)),
        "f1": cache(lambda: f1_of_counts(hits, support, said)),
        "auroc": cache(lambda: _by_label(area_under_curve, logits, positive)),
        "average_precision": cache(lambda: _by_label(average_precision, logits, positive)),
    }
    known: dict[str, Value] = {
        "label_accuracy": lambda: LABEL_ITEMS["label_accuracy"](logits, actual).mean(1),
        "weighted_accuracy": lambda: _mean_of_defined(each["weighted_accuracy"]()),
        "micro_f1": lambda: f1_of_counts(hits.sum(1), support.sum(1), said.sum(1)),
        "macro_f1": lambda: each["f1"]().mean(1),
        "weighted_f1": lambda: _by_label(weighted_f1, decided, positive).mean(1),
        "auroc": lambda: _mean_of_defined(each["auroc"]()),
        "average_precision": lambda: _mean_of_defined(each["average_precision"]()),
        "log_loss": lambda: _label_log_loss(logits, actual).mean(1),
        "ece": lambda: _by_label(_label_calibration_error, logits, positive).mean(1),
    }
    known |= {
        f"{metric}_{name}": _column(values, number)
        for metric, values in each.items()
        for number, name in enumerate(names)
    }
    return _computed(known, only)


def class_item_values(
    scores: npt.ArrayLike, labels: npt.ArrayLike, metric: str
) -> FloatArray | None:
    """Values `(replica, n)` whose mean is a metric of `class_metrics_by_replica`; None if none are.

    Raises:
        InputError: as that one.
    """
    logits, actual = checked_numbers(scores, labels)
    return _items(CLASS_ITEMS, logits, actual, metric)


def label_item_values(
    scores: npt.ArrayLike, labels: npt.ArrayLike, metric: str
) -> FloatArray | None:
    """Values `(replica, n)` whose mean is a metric of `label_metrics_by_replica`; None if none are.

    Raises:
        InputError: as that one.
    """
    logits, positive = checked_labels(scores, labels)
    return _items(LABEL_ITEMS, logits, positive.astype(np.float64), metric)


def probabilities_of_classes(logits: FloatArray) -> FloatArray:
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares: FloatArray = powers / powers.sum(-1, keepdims=True)
    return shares


def _computed(known: Mapping[str, Value], only: str) -> Metrics:
    """All metrics, or the one that is wanted; none where it is not known."""
    return {name: value() for name, value in known.items() if only in ("", name)}


def _column(values: Value, number: int) -> Value:
    return lambda: values()[:, number]


def _items(
    known: Mapping[str, PerItem], logits: FloatArray, actual: FloatArray, metric: str
) -> FloatArray | None:
    if metric not in known:
        return None
    return np.asarray(known[metric](logits, actual), np.float64)


def _right(logits: FloatArray, actual: FloatArray) -> BoolArray:
    right: BoolArray = logits.argmax(-1) == actual
    return right


def _class_log_loss(logits: FloatArray, actual: FloatArray) -> FloatArray:
    shifted = logits - logits.max(-1, keepdims=True)
    own = np.take_along_axis(shifted, actual.astype(np.int64)[None, :, None], axis=-1)[..., 0]
    losses: FloatArray = np.log(np.exp(shifted).sum(-1)) - own
    return losses


def _label_log_loss(logits: FloatArray, actual: FloatArray) -> FloatArray:
    losses: FloatArray = (np.logaddexp(0, logits) - actual * logits).mean(-1)
    return losses


CLASS_ITEMS: dict[str, PerItem] = {"accuracy": _right, "log_loss": _class_log_loss}
LABEL_ITEMS: dict[str, PerItem] = {
    "label_accuracy": lambda z, y: ((z >= 0) == (y == 1)).mean(-1),
    "log_loss": _label_log_loss,
}


def _matthews(hits: FloatArray, support: FloatArray, said: FloatArray) -> FloatArray:
    total = support.sum(1)
    covariance = hits.sum(1) * total - (support * said).sum(1)
    spread = (total**2 - (support**2).sum(1)) * (total**2 - (said**2).sum(1))
    return ratio(covariance, np.sqrt(spread))


def _weighted_accuracy(decided: BoolArray, positive: BoolArray) -> FloatArray:
    held, free = positive.sum(0), (~positive).sum(0)
    hits, rejections = (decided & positive).sum(1), (~decided & ~positive).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        weighted: FloatArray = (hits * (free / held) + rejections) / (2 * free)
    return np.where((held > 0) & (free > 0), weighted, np.nan)


def _label_calibration_error(logits: FloatArray, positive: BoolArray) -> FloatArray:
    """Of one label, yes and no as two classes; logits `(replica, n)` to `(replica,)`."""
    yes_and_no = np.stack([logits, np.zeros_like(logits)], axis=-1)
    return calibration_error(probabilities_of_classes(yes_and_no), ~positive)


def _by_label(
    metric: Callable[..., FloatArray], values: npt.NDArray[np.generic], positive: BoolArray
) -> FloatArray:
    """A metric of each label alone, `(replica, C)`."""
    count = positive.shape[1]
    return np.stack([metric(values[:, :, c], positive[:, c]) for c in range(count)], axis=1)


def _mean_of_defined(values: FloatArray) -> FloatArray:
    """Mean over the labels, `(replica, C)` to `(replica,)`; NaN where none counts."""
    return mean_where(values, ~np.isnan(values))
