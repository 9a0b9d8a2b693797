"""Every metric against scikit-learn, scipy or a spelled-out loop, and at every boundary."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, log_loss, roc_auc_score

from cmir.errors import InputError
from cmir.evaluation.reliability import (
    expected_calibration_error,
    tenth_percentile_accuracy,
    tenth_percentile_mae,
)
from cmir.metrics.field_metrics import (
    classification_metrics,
    classification_metrics_by_replica,
    regression_metrics,
    regression_metrics_by_replica,
)
from cmir.metrics.group_metrics import (
    group_means,
    worst_environment_accuracy,
    worst_environment_mae,
)
from cmir.metrics.metric_directions import (
    METRIC_DIRECTION,
    OF_ENDED_TRIALS,
    OF_NAMED_TASKS,
    direction,
)

FloatArray = npt.NDArray[np.float64]

SIMS = (-1.0, 1.0)
# Metrics that are no functions of scores and labels on one scale; their own tests hold them.
ELSEWHERE = {*OF_NAMED_TASKS, *(key.partition("/")[2] for key in OF_ENDED_TRIALS)}


def sentiments(replicas: int, samples: int, bound: float = 3.0) -> tuple[FloatArray, FloatArray]:
    """Labels on a grid that meets every boundary, and predictions near them, some on it too."""
    generator = np.random.default_rng(7)
    labels = np.round(generator.uniform(-bound, bound, samples) * 5) / 5
    predictions = labels + generator.normal(0, bound / 2, (replicas, samples))
    on_grid = generator.random((replicas, samples)) < 0.3
    return np.where(on_grid, np.round(predictions * 2) / 2, predictions), labels


def as_the_field_computes_them(p: FloatArray, y: FloatArray) -> dict[str, float]:
    has_sign = y != 0
    p7, y7 = (np.round(np.clip(v, -3, 3)) for v in (p, y))
    p5, y5 = (np.round(np.clip(v, -2, 2)) for v in (p, y))
    p_non0, y_non0 = p[has_sign] > 0, y[has_sign] > 0
    return {
        "mae": float(np.mean(np.abs(p - y))),
        "corr": float(pearsonr(p, y).statistic),
        "acc7": accuracy_score(y7, p7),
        "acc5": accuracy_score(y5, p5),
        "acc2_has0": accuracy_score(y >= 0, p >= 0),
        "acc2_non0": accuracy_score(y_non0, p_non0),
        "f1_has0": f1_score(y >= 0, p >= 0, average="weighted"),
        "f1_non0": f1_score(y_non0, p_non0, average="weighted"),
    }


def sims_bin(value: float, cuts: tuple[float, ...]) -> int:
    """The number of the bin whose upper edge, inclusive, is the first not below the value."""
    return next((i for i, cut in enumerate(cuts) if value <= cut), len(cuts))


def sims_as_the_field_computes_them(p: FloatArray, y: FloatArray) -> dict[str, float]:
    p, y = np.clip(p, -1, 1), np.clip(y, -1, 1)
    metrics = {"mae": float(np.mean(np.abs(p - y))), "corr": float(pearsonr(p, y).statistic)}
    cuts_of = {"acc2": (0.0,), "acc3": (-0.1, 0.1), "acc5": (-0.7, -0.1, 0.1, 0.7)}
    for name, cuts in cuts_of.items():
        hits = [sims_bin(a, cuts) == sims_bin(b, cuts) for a, b in zip(p, y, strict=True)]
        metrics[name] = float(np.mean(hits))
    return metrics | {"f1": f1_score(y > 0, p > 0, average="weighted")}


def test_mosi_metrics_are_those_of_scikit_learn_and_scipy() -> None:
    predictions, labels = sentiments(1, 600)
    expected = as_the_field_computes_them(predictions[0], labels)
    assert regression_metrics(predictions[0], labels) == pytest.approx(expected, abs=1e-12)


def test_sims_metrics_are_those_of_a_spelled_out_loop() -> None:
    predictions, labels = sentiments(1, 600, bound=1.0)
    expected = sims_as_the_field_computes_them(predictions[0], labels)
    measured = regression_metrics(predictions[0], labels, label_range=SIMS)
    assert measured == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("label_range", [None, (0.0, 10.0)])
def test_an_unknown_scale_has_the_metrics_without_bins(
    label_range: tuple[float, float] | None,
) -> None:
    predictions, labels = sentiments(1, 50)
    metrics = regression_metrics(predictions[0], labels, label_range=label_range)
    full = regression_metrics(predictions[0], labels)
    assert metrics == {"mae": full["mae"], "corr": full["corr"]}


@pytest.mark.parametrize("label_range", [(-3.0, 3.0), SIMS, None])
def test_a_stack_of_replicas_has_the_metrics_of_each_alone(
    label_range: tuple[float, float] | None,
) -> None:
    predictions, labels = sentiments(4, 101)
    stack = regression_metrics_by_replica(predictions, labels, label_range=label_range)
    for replica, row in enumerate(predictions):
        alone = regression_metrics(row, labels, label_range=label_range)
        assert {name: value[replica] for name, value in stack.items()} == pytest.approx(alone)


def test_metrics_do_not_depend_on_the_order_of_samples() -> None:
    predictions, labels = sentiments(3, 80)
    order = np.random.default_rng(0).permutation(80)
    before = regression_metrics_by_replica(predictions, labels)
    after = regression_metrics_by_replica(predictions[:, order], labels[order])
    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-12)


@pytest.mark.parametrize(
    ("prediction", "label", "same_class"),
    [
        (0.5, 0.0, True),  # halves go to the even neighbour
        (-0.5, 0.0, True),
        (0.5000001, 0.0, False),
        (1.5, 2.0, True),
        (2.5, 2.0, True),
        (2.5, 3.0, False),
        (2.6, 3.0, True),
        (9.0, 3.0, True),  # clipped to the scale
        (-9.0, -3.0, True),
        (-0.2, 0.2, True),  # the sign does not matter to a rounded 0
    ],
)
def test_acc7_rounds_halves_to_even_after_clipping(
    prediction: float, label: float, same_class: bool
) -> None:
    assert regression_metrics([prediction], [label])["acc7"] == float(same_class)


def test_acc5_merges_the_outer_classes() -> None:
    metrics = regression_metrics([1.8, -3.0, 1.4], [3.0, -2.0, 3.0])
    assert metrics["acc5"] == pytest.approx(2 / 3)
    assert metrics["acc7"] == 0.0


def test_mosi_errors_are_not_clipped() -> None:
    assert regression_metrics([7.0], [3.0])["mae"] == 4.0


def test_sims_errors_are_clipped() -> None:
    assert regression_metrics([7.0], [1.0], label_range=SIMS)["mae"] == 0.0


def test_zero_counts_as_positive_with_neutral_samples_and_as_negative_without() -> None:
    metrics = regression_metrics([0.0, 0.0], [1.0, -1.0])
    assert metrics["acc2_has0"] == 0.5
    assert metrics["acc2_non0"] == 0.5
    only_positive = regression_metrics([0.0], [1.0])
    assert (only_positive["acc2_has0"], only_positive["acc2_non0"]) == (1.0, 0.0)


def test_a_neutral_sample_changes_no_non0_metric() -> None:
    predictions, labels = sentiments(1, 40)
    some = regression_metrics(predictions[0], labels)
    more = regression_metrics([*predictions[0], -2.0], [*labels, 0.0])
    assert [more["acc2_non0"], more["f1_non0"]] == [some["acc2_non0"], some["f1_non0"]]
    assert more["acc2_has0"] != some["acc2_has0"]


def test_only_neutral_samples_leave_the_non0_metrics_unmeasured() -> None:
    metrics = regression_metrics([0.1, -0.2, 0.3], [0.0, 0.0, 0.0])
    unmeasured = {name for name, value in metrics.items() if math.isnan(value)}
    assert unmeasured == {"acc2_non0", "f1_non0"}
    assert metrics["acc2_has0"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("constant", [0.0, 0.1, -2.7, 1e6])
def test_constant_predictions_have_no_correlation(constant: float) -> None:
    labels = np.linspace(-3, 3, 1001)
    assert regression_metrics(np.full(1001, constant), labels)["corr"] == 0.0
    assert regression_metrics(labels, np.full(1001, constant))["corr"] == 0.0


def test_small_but_real_variation_does_correlate() -> None:
    labels = np.linspace(-3, 3, 50)
    assert regression_metrics(1e-9 * labels, labels)["corr"] == pytest.approx(1.0)
    assert regression_metrics(2.0 - 1e-6 * labels, labels)["corr"] == pytest.approx(-1.0)


def test_one_constant_replica_does_not_touch_the_others() -> None:
    predictions, labels = sentiments(3, 60)
    predictions[1] = 0.3
    corr = regression_metrics_by_replica(predictions, labels)["corr"]
    assert corr[1] == 0.0
    assert corr[[0, 2]] == pytest.approx([pearsonr(predictions[r], labels)[0] for r in (0, 2)])


def test_f1_weights_classes_by_their_labels_not_by_the_predictions() -> None:
    labels, predictions = np.array([1.0, 1.0, 1.0, -1.0]), np.array([1.0, -1.0, -1.0, 1.0])
    right = f1_score(labels > 0, predictions > 0, average="weighted")
    swapped = f1_score(predictions > 0, labels > 0, average="weighted")
    assert regression_metrics(predictions, labels)["f1_non0"] == pytest.approx(right)
    assert right != pytest.approx(swapped)


@pytest.mark.parametrize("label", [-1.0, 1.0])
@pytest.mark.parametrize("prediction", [-1.0, 1.0])
def test_f1_of_a_single_class_is_that_of_scikit_learn(label: float, prediction: float) -> None:
    expected = f1_score(
        [label > 0] * 3, [prediction > 0] * 3, average="weighted", zero_division=0.0
    )
    measured = regression_metrics([prediction] * 3, [label] * 3)
    assert measured["f1_non0"] == measured["f1_has0"] == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("value", "acc3_class", "acc5_class"),
    [(-0.7, 0, 0), (-0.1, 0, 1), (0.0, 1, 2), (0.1, 1, 2), (0.2, 2, 3), (0.7, 2, 3), (0.8, 2, 4)],
)
def test_a_sims_value_on_a_cut_belongs_below_in_either_precision(
    value: float, acc3_class: int, acc5_class: int, dtype: type[np.floating]
) -> None:
    inside3, inside5 = [-0.5, 0.05, 0.5], [-0.9, -0.5, 0.05, 0.5, 0.9]
    for classes, inside, metric in ((acc3_class, inside3, "acc3"), (acc5_class, inside5, "acc5")):
        for number, other in enumerate(inside):
            measured = regression_metrics(
                np.array([value], dtype), np.array([other], dtype), label_range=SIMS
            )
            assert measured[metric] == float(number == classes)


def test_classification_metrics_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, 300)
    # Rounded: many scores are tied, and some lie on the threshold.
    scores = np.round(generator.normal(labels - 0.5, 1.0), 1)
    probabilities = 1 / (1 + np.exp(-scores))
    expected = {
        "accuracy": accuracy_score(labels, scores >= 0),
        "f1": f1_score(labels, scores >= 0, average="weighted"),
        "auc": roc_auc_score(labels, scores),
        "brier": brier_score_loss(labels, probabilities),
        "log_loss": log_loss(labels, probabilities),
    }
    assert classification_metrics(scores, labels) == pytest.approx(expected, abs=1e-12)


def test_a_stack_of_classifiers_has_the_metrics_of_each_alone() -> None:
    generator = np.random.default_rng(4)
    scores, labels = generator.normal(size=(3, 70)), generator.integers(0, 2, 70)
    stack = classification_metrics_by_replica(scores, labels)
    for replica, row in enumerate(scores):
        alone = classification_metrics(row, labels)
        assert {name: value[replica] for name, value in stack.items()} == pytest.approx(alone)


def test_extreme_logits_overflow_nowhere() -> None:
    metrics = classification_metrics([1e4, -1e4, -1e4], [1, 0, 1])
    assert metrics["log_loss"] == pytest.approx(1e4 / 3)
    assert metrics["brier"] == pytest.approx(1 / 3)


def test_a_single_class_leaves_the_auc_unmeasured() -> None:
    metrics = classification_metrics([0.3, -0.3], [1, 1])
    assert math.isnan(metrics["auc"])
    assert metrics["accuracy"] == 0.5


def test_group_means_are_those_of_a_loop_over_the_groups_that_have_samples() -> None:
    generator = np.random.default_rng(5)
    values, groups = generator.normal(size=(2, 40)), generator.choice([1, 4, 9], 40)
    expected = np.array([[row[groups == g].mean() for g in (1, 4, 9)] for row in values])
    np.testing.assert_allclose(group_means(values, groups), expected)


def test_groups_may_be_named() -> None:
    means = group_means([[1.0, 2.0, 6.0]], np.array(["b", "a", "a"], dtype=object))
    assert means.tolist() == [[4.0, 1.0]]


def test_the_worst_environment_is_found_for_each_replica() -> None:
    predictions, labels = [[0.0, 0.0, 3.0], [2.0, 2.0, 0.0]], [0.0, 1.0, 0.0]
    worst = worst_environment_mae(predictions, labels, ["calm", "calm", "loud"])
    assert worst.tolist() == [3.0, 1.5]


def test_the_worst_environment_of_a_classifier_is_its_least_accurate() -> None:
    worst = worst_environment_accuracy([[1.0, -1.0, 1.0]], [1, 1, 1], [0, 0, 1])
    assert worst.tolist() == [0.5]


def test_one_environment_is_its_own_worst() -> None:
    predictions, labels = sentiments(2, 30)
    worst = worst_environment_mae(predictions, labels, np.zeros(30, np.int64))
    np.testing.assert_allclose(worst, regression_metrics_by_replica(predictions, labels)["mae"])


def test_every_metric_that_is_computed_has_a_direction() -> None:
    predictions, labels = sentiments(1, 30)
    computed = (
        set(regression_metrics(predictions[0], labels))
        | set(regression_metrics(predictions[0], labels, label_range=SIMS))
        | set(classification_metrics(predictions[0], labels > 0))
        | {"worst_environment_mae", "worst_environment_accuracy", "ece"}
        | {"tenth_percentile_mae", "tenth_percentile_accuracy"}
    )
    assert computed == set(METRIC_DIRECTION) - ELSEWHERE


@pytest.mark.parametrize("metric", sorted({*METRIC_DIRECTION} - {*ELSEWHERE, "auc"}))
def test_the_direction_is_the_one_in_which_a_perfect_model_lies(metric: str) -> None:
    labels = np.array([-1.0, -0.6, -0.05, 0.05, 0.6, 1.0])
    groups = np.array([0, 0, 1, 1, 2, 2])

    def value_of(predictions: FloatArray) -> float:
        scores, classes = 5 * predictions, labels > 0
        values = {
            **regression_metrics(predictions, labels, label_range=SIMS),
            **regression_metrics(3 * predictions, 3 * labels),
            **classification_metrics(scores, classes),
            "worst_environment_mae": worst_environment_mae([predictions], labels, groups)[0],
            "worst_environment_accuracy": worst_environment_accuracy([scores], classes, groups)[0],
            "tenth_percentile_mae": tenth_percentile_mae([predictions], labels, groups)[0],
            "tenth_percentile_accuracy": tenth_percentile_accuracy([scores], classes, groups)[0],
            "ece": expected_calibration_error([scores], classes)[0],
        }
        return float(values[metric])

    perfect, reversed_ = value_of(labels), value_of(-labels)
    assert (perfect < reversed_) == (direction(metric) == "min")
    assert perfect != reversed_


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"must be one of mae, corr, .*, but got 'rmse'"):
        direction("rmse")


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        ([], [], "predictions: must hold at least one sample"),
        ([1.0, 2.0], [1.0], r"labels: .* each of the 2 samples of predictions, but got shape \(1,"),
        ([1.0, np.nan], [1.0, 2.0], "predictions: must be finite, but 1 of 2"),
        ([1.0, -np.inf], [1.0, 2.0], "predictions: must be finite, but 1 of 2.*learning rate"),
        ([1.0, 2.0], [np.nan, np.nan], "labels: must be finite, but 2 of 2"),
        (3.0, 3.0, "predictions: must be one number for each sample"),
        ([[1.0]], [1.0], "predictions: must be one number for each sample"),
    ],
)
def test_unusable_predictions_and_labels_are_refused(
    predictions: list[float], labels: list[float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        regression_metrics(predictions, labels)


def test_classes_other_than_0_and_1_are_refused() -> None:
    with pytest.raises(InputError, match="labels: must be 0 or 1, but got -1"):
        classification_metrics([0.1, 0.2], [1, -1])


def test_groups_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match="groups: must have one entry for each of the 2 values"):
        group_means([[1.0, 2.0]], [1, 2, 3])


def test_scores_that_are_not_finite_are_refused_by_their_name() -> None:
    with pytest.raises(InputError, match="scores: must be finite, but 1 of 2"):
        classification_metrics([0.1, np.nan], [1, 0])
