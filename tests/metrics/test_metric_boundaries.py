"""Every metric at every boundary, against the field's own formulas on scikit-learn and scipy.

The formulas are those of `MetricsTop` in github.com/thuiar/MMSA, each written out on its own.
"""

from __future__ import annotations

import math
import warnings
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    mean_absolute_error,
    roc_auc_score,
)

from cmir.metrics.field_metrics import classification_metrics, regression_metrics

MOSI_EDGES = (-3.5, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5)
SIMS_EDGES = (-1.5, -1.0, -0.7, -0.4, -0.1, 0.0, 0.1, 0.4, 0.7, 1.0, 1.5)
SIMS_CUTS = {
    "acc2": (-1.01, 0.0, 1.01),
    "acc3": (-1.01, -0.1, 0.1, 1.01),
    "acc5": (-1.01, -0.7, -0.1, 0.1, 0.7, 1.01),
}
PRECISIONS = (np.float32, np.float64)

Vector = npt.NDArray[np.floating[Any]]


def around(edges: tuple[float, ...], dtype: type[np.floating[Any]]) -> Vector:
    """The edges and the numbers next to them, on either side."""
    exact = np.array(edges, dtype)
    below, above = np.nextafter(exact, dtype(-9)), np.nextafter(exact, dtype(9))
    return np.concatenate([exact, below, above])


def weighted_f1(true: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_]) -> float:
    return float(f1_score(true, said, average="weighted", zero_division=0.0))


def mosi_by_the_field(p: Vector, y: Vector) -> dict[str, float]:
    has_sign = np.array([value != 0 for value in y])
    metrics = {
        f"acc{2 * bound + 1}": float(
            np.sum(np.round(np.clip(p, -bound, bound)) == np.round(np.clip(y, -bound, bound)))
            / len(y)
        )
        for bound in (3, 2)
    }
    metrics["mae"] = mean_absolute_error(y.astype(np.float64), p.astype(np.float64))
    metrics["acc2_has0"] = accuracy_score(y >= 0, p >= 0)
    metrics["f1_has0"] = weighted_f1(y >= 0, p >= 0)
    if has_sign.any():
        metrics["acc2_non0"] = accuracy_score(y[has_sign] > 0, p[has_sign] > 0)
        metrics["f1_non0"] = weighted_f1(y[has_sign] > 0, p[has_sign] > 0)
    return metrics


def sims_by_the_field(p: Vector, y: Vector) -> dict[str, float]:
    p, y = np.clip(p, -1.0, 1.0), np.clip(y, -1.0, 1.0)
    metrics = {"mae": mean_absolute_error(y.astype(np.float64), p.astype(np.float64))}
    binned = {}
    for name, cuts in SIMS_CUTS.items():
        bins = [np.full(len(y), -1), np.full(len(y), -1)]
        for values, out in zip((p, y), bins, strict=True):
            for place in range(len(cuts) - 1):
                out[np.logical_and(values > cuts[place], values <= cuts[place + 1])] = place
        metrics[name] = float(np.mean(bins[0] == bins[1]))
        binned[name] = bins
    return metrics | {"f1": weighted_f1(binned["acc2"][1] > 0, binned["acc2"][0] > 0)}


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_mosi_metrics_at_every_pair_of_boundaries(dtype: type[np.floating[Any]]) -> None:
    pairs = np.array(list(product(around(MOSI_EDGES, dtype), repeat=2)))
    p, y = pairs.T
    measured = regression_metrics(p, y)
    expected = mosi_by_the_field(p, y) | {"corr": pearsonr(p, y).statistic}
    assert measured == pytest.approx(expected, abs=1e-7)


def test_each_pair_of_boundaries_alone_is_judged_as_the_formulas_say() -> None:
    for p, y in product(around(MOSI_EDGES, np.float64).tolist(), repeat=2):
        measured = regression_metrics([p], [y])
        # Python's own `round` takes halves to the even neighbour, as numpy's does.
        for name, bound in (("acc7", 3), ("acc5", 2)):
            rounded = [round(max(-bound, min(bound, value))) for value in (p, y)]
            assert measured[name] == (rounded[0] == rounded[1])
        assert measured["acc2_has0"] == measured["f1_has0"] == ((p >= 0) == (y >= 0))
        if y == 0:
            assert math.isnan(measured["acc2_non0"])
        else:
            assert measured["acc2_non0"] == measured["f1_non0"] == ((p > 0) == (y > 0))
        assert measured["mae"] == abs(p - y)


def test_sims_metrics_at_every_pair_of_boundaries() -> None:
    # In single precision, as the field's arrays are: there .1 is on the cut.
    pairs = np.array(list(product(around(SIMS_EDGES, np.float32), repeat=2)))
    p, y = pairs.T
    measured = regression_metrics(p, y, label_range=(-1.0, 1.0))
    clipped = np.clip(pairs, -1.0, 1.0)
    expected = sims_by_the_field(p, y) | {"corr": pearsonr(*clipped.T).statistic}
    assert measured == pytest.approx(expected, abs=1e-7)


def test_sims_values_on_a_cut_count_the_same_in_double_precision() -> None:
    pairs = np.array(list(product(SIMS_EDGES, repeat=2)))
    p, y = pairs.T
    measured = regression_metrics(p, y, label_range=(-1.0, 1.0))
    single = regression_metrics(*pairs.astype(np.float32).T, label_range=(-1.0, 1.0))
    assert measured == pytest.approx(single, abs=1e-6)
    assert measured == pytest.approx(sims_by_the_field(p, y) | {"corr": measured["corr"]})


@pytest.mark.parametrize("constant", [-3.0, -0.1, 0.0, 0.1, 0.5, 2.5])
def test_constant_predictions_are_scored_by_the_same_formulas(constant: float) -> None:
    y = np.array([-3.0, -2.5, -0.5, 0.0, 0.0, 0.5, 1.0, 3.0])
    p = np.full(len(y), constant)
    assert regression_metrics(p, y) == pytest.approx(mosi_by_the_field(p, y) | {"corr": 0.0})
    sims = regression_metrics(p, y / 3, label_range=(-1.0, 1.0))
    assert sims == pytest.approx(sims_by_the_field(p, y / 3) | {"corr": 0.0})


@pytest.mark.parametrize("predictions", [[0.0, 0.0, 0.0], [0.2, -0.2, 0.0], [-1.0, -2.0, -3.0]])
def test_all_neutral_labels_leave_only_what_has_no_sign_to_judge(predictions: list[float]) -> None:
    p, y = np.array(predictions), np.zeros(3)
    measured = regression_metrics(p, y)
    assert math.isnan(measured.pop("acc2_non0"))
    assert math.isnan(measured.pop("f1_non0"))
    assert measured == pytest.approx(mosi_by_the_field(p, y) | {"corr": 0.0})


def by_the_field(scores: Vector, labels: npt.NDArray[np.int64]) -> dict[str, float]:
    probabilities = 1 / (1 + np.exp(-scores))
    with warnings.catch_warnings():
        # scikit-learn warns that one class has no AUC, which is what is asked here.
        warnings.simplefilter("ignore")
        auc = roc_auc_score(labels, scores) if len(set(labels)) == 2 else math.nan
    return {
        "accuracy": accuracy_score(labels, scores >= 0),
        "f1": weighted_f1(labels == 1, scores >= 0),
        "auc": auc,
        "brier": brier_score_loss(labels, probabilities, pos_label=1),
        "log_loss": log_loss(labels, probabilities, labels=[0, 1]),
    }


@pytest.mark.parametrize(
    "scores",
    [
        [0.0, 0.0, 0.0, 0.0],  # constant, on the threshold, all tied
        [-1e-9, 0.0, 1e-9, 0.0],  # next to it
        [2.0, 2.0, 2.0, 2.0],
        [-2.0, -2.0, -2.0, -2.0],
        [1.0, 1.0, -1.0, -1.0],  # ties across the classes
        [3.0, 2.0, 1.0, 0.5],
    ],
)
@pytest.mark.parametrize("labels", [[0, 1, 0, 1], [0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
def test_binary_metrics_at_the_threshold_with_ties_and_single_classes(
    scores: list[float], labels: list[int]
) -> None:
    measured = classification_metrics(scores, labels)
    expected = by_the_field(np.array(scores), np.array(labels))
    assert measured == pytest.approx(expected, nan_ok=True, abs=1e-12)
