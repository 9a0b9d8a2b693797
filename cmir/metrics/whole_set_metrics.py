"""Metrics of all samples together, no means over samples: Pearson, F1, area under the curve.

Predictions are `(replica, n)`, labels `(n,)`, both checked before; each returns `(replica,)`.
"""

from __future__ import annotations

import numpy as np

from cmir.metrics.metric_inputs import BoolArray, FloatArray


def pearson(predicted: FloatArray, actual: FloatArray) -> FloatArray:
    """Pearson correlation; 0 where predictions or labels are constant."""
    x, x_norm, x_constant = _centred(predicted)
    y, y_norm, y_constant = _centred(actual)
    constant = x_constant | y_constant
    r = (x @ y) / np.where(constant, 1.0, x_norm * y_norm)
    return np.where(constant, 0.0, r.clip(-1, 1))


def weighted_f1(decided: BoolArray, positive: BoolArray) -> FloatArray:
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


def area_under_curve(scores: FloatArray, positive: BoolArray) -> FloatArray:
    """How often a positive is scored above a negative, ties half; NaN where one class is absent."""
    if positive.all() or not positive.any():
        return np.full(scores.shape[0], np.nan)
    positives, negatives = np.sort(scores[:, positive]), np.sort(scores[:, ~positive])
    return np.array([_win_rate(*pair) for pair in zip(positives, negatives, strict=True)])


def average_precision(scores: FloatArray, positive: BoolArray) -> FloatArray:
    """Mean precision at the recall that each further positive brings; NaN without positives.

    sum_k (R_k - R_(k-1)) P_k over the different scores, the largest first.
    """
    if positive.all() or not positive.any():
        return np.full(scores.shape[0], np.nan)
    return np.array([_precision_of_ranks(row, positive) for row in scores])


def _precision_of_ranks(scores: FloatArray, positive: BoolArray) -> float:
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    hits = np.cumsum(positive[order])
    last = np.append(ranked[1:] != ranked[:-1], True)
    found, said = hits[last], np.flatnonzero(last) + 1
    return float((np.diff(found, prepend=0) * found / said).sum() / hits[-1])


def _centred(values: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Values less their mean, the norm of that, and whether it is rounding alone."""
    mean = values.mean(axis=-1, keepdims=True)
    centred = values - mean
    norm = np.sqrt(np.square(centred).sum(axis=-1))
    return centred, norm, norm <= 1e-13 * np.sqrt(values.shape[-1]) * np.abs(mean[..., 0])


def _win_rate(positives: FloatArray, sorted_negatives: FloatArray) -> float:
    below = np.searchsorted(sorted_negatives, positives, side="left")
    not_above = np.searchsorted(sorted_negatives, positives, side="right")
    return float((below + not_above).mean() / (2 * len(sorted_negatives)))
