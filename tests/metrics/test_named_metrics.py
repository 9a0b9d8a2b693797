"""Metrics of classes and of several labels, each replica against scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from cmir.data.task import Task
from cmir.errors import InputError
from cmir.evaluation.reliability import expected_calibration_error
from cmir.metrics.field_metrics import classification_metrics_by_replica
from cmir.metrics.metric_directions import direction
from cmir.metrics.named_metrics import (
    CLASS_ITEMS,
    LABEL_ITEMS,
    class_item_values,
    class_metrics_by_replica,
    label_item_values,
    label_metrics_by_replica,
    probabilities_of_classes,
)

NAMES = ("anger", "joy", "neutral", "fear")
N = 60


@pytest.fixture
def scores() -> np.ndarray:
    found = np.random.default_rng(0).normal(size=(3, N, 4))
    found[0, :, 3] = -9.0  # A class that this replica never decides for.
    found[:, ::5] = np.round(found[:, ::5])  # Ties between samples.
    return found


@pytest.fixture(params=["all", "one absent"])
def classes(request: pytest.FixtureRequest) -> np.ndarray:
    labels = np.random.default_rng(1).choice(4, N, p=[0.6, 0.2, 0.1, 0.1])
    return labels if request.param == "all" else np.where(labels == 3, 0, labels)


@pytest.fixture
def several() -> np.ndarray:
    return (np.random.default_rng(2).random((N, 4)) < [0.5, 0.1, 0.7, 0.3]).astype(float)


def test_classes_are_measured_as_scikit_learn_does(scores: np.ndarray, classes: np.ndarray) -> None:
    found = class_metrics_by_replica(scores, classes, NAMES)
    for replica, logits in enumerate(scores):
        decided, chances = logits.argmax(1), probabilities_of_classes(logits)
        f1 = reference.f1_score(classes, decided, labels=range(4), average=None, zero_division=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of classes that are decided for and absent.
            uar = reference.balanced_accuracy_score(classes, decided)
        wanted = {
            "accuracy": reference.accuracy_score(classes, decided),
            "uar": uar,
            "weighted_f1": reference.f1_score(classes, decided, average="weighted"),
            "macro_f1": reference.f1_score(classes, decided, average="macro"),
            "mcc": reference.matthews_corrcoef(classes, decided),
            "log_loss": reference.log_loss(classes, chances, labels=range(4)),
            **{f"f1_{name}": value for name, value in zip(NAMES, f1, strict=True)},
        }
        own = {name: float(values[replica]) for name, values in found.items()}
        del own["ece"]
        assert own == pytest.approx(wanted, abs=1e-12)


def test_several_labels_are_measured_as_scikit_learn_does(
    scores: np.ndarray, several: np.ndarray
) -> None:
    found = label_metrics_by_replica(scores, several, NAMES)
    calibration = np.stack(
        [expected_calibration_error(scores[..., c], several[:, c]) for c in range(4)]
    )
    for replica, logits in enumerate(scores):
        decided, chances = logits >= 0, 1 / (1 + np.exp(-logits))

        def each(metric: Callable[..., Any], values: np.ndarray) -> list[float]:
            return [float(metric(several[:, c], values[:, c])) for c in range(4)]

        of_one = {
            "weighted_accuracy": each(reference.balanced_accuracy_score, decided),
            "f1": each(lambda y, p: reference.f1_score(y, p, zero_division=0), decided),
            "auroc": each(reference.roc_auc_score, logits),
            "average_precision": each(reference.average_precision_score, logits),
        }
        weighted = each(lambda y, p: reference.f1_score(y, p, average="weighted"), decided)
        wanted = {
            "label_accuracy": 1 - reference.hamming_loss(several, decided),
            "weighted_accuracy": np.mean(of_one["weighted_accuracy"]),
            "micro_f1": reference.f1_score(several, decided, average="micro"),
            "macro_f1": reference.f1_score(several, decided, average="macro", zero_division=0),
            "weighted_f1": np.mean(weighted),
            "auroc": np.mean(of_one["auroc"]),
            "average_precision": np.mean(of_one["average_precision"]),
            "log_loss": np.mean(each(reference.log_loss, chances)),
            **{
                f"{metric}_{name}": value
                for metric, values in of_one.items()
                for name, value in zip(NAMES, values, strict=True)
            },
        }
        own = {name: float(values[replica]) for name, values in found.items()}
        assert own.pop("ece") == pytest.approx(np.mean(calibration[:, replica]), abs=1e-12)
        assert own == pytest.approx(wanted, abs=1e-12)


def test_weighted_accuracy_is_the_formula_of_the_papers(
    scores: np.ndarray, several: np.ndarray
) -> None:
    found = label_metrics_by_replica(scores, several, NAMES)
    for c, name in enumerate(NAMES):
        y, p = several[:, c] == 1, scores[0, :, c] >= 0
        held, free = y.sum(), (~y).sum()
        wanted = ((y & p).sum() * free / held + (~y & ~p).sum()) / (2 * free)
        assert found[f"weighted_accuracy_{name}"][0] == pytest.approx(wanted, abs=1e-12)


def test_a_label_that_all_or_none_have_does_not_count_in_means(scores: np.ndarray) -> None:
    labels = np.zeros((N, 4))
    labels[::2, :2], labels[:, 3] = 1, 1
    found = label_metrics_by_replica(scores, labels, NAMES)
    for metric in ("weighted_accuracy", "auroc", "average_precision"):
        assert np.isnan([found[f"{metric}_{name}"] for name in ("neutral", "fear")]).all()
        both = [found[f"{metric}_{name}"] for name in ("anger", "joy")]
        np.testing.assert_allclose(found[metric], np.mean(both, axis=0))


def test_two_classes_are_measured_as_binary(scores: np.ndarray) -> None:
    logits, labels = scores[:, :, 0], np.arange(N) % 3 // 2
    # A logit of 0 decides for class 1 where there is one, for the first where there are two.
    logits[logits == 0] = 0.01
    both = np.stack([np.zeros_like(logits), logits], axis=-1)
    two = class_metrics_by_replica(both, labels, ("no", "yes"))
    one = classification_metrics_by_replica(logits, labels)
    np.testing.assert_array_equal(two["accuracy"], one["accuracy"])
    np.testing.assert_allclose(two["weighted_f1"], one["f1"], rtol=1e-14)
    np.testing.assert_allclose(two["log_loss"], one["log_loss"], rtol=1e-13)
    np.testing.assert_allclose(two["ece"], expected_calibration_error(logits, labels), rtol=1e-12)


def test_item_values_have_the_metric_as_their_mean(
    scores: np.ndarray, classes: np.ndarray, several: np.ndarray
) -> None:
    of_classes = class_metrics_by_replica(scores, classes, NAMES)
    for metric in CLASS_ITEMS:
        values = class_item_values(scores, classes, metric)
        assert values is not None
        np.testing.assert_allclose(values.mean(1), of_classes[metric])
    of_labels = label_metrics_by_replica(scores, several, NAMES)
    for metric in LABEL_ITEMS:
        values = label_item_values(scores, several, metric)
        assert values is not None
        np.testing.assert_allclose(values.mean(1), of_labels[metric])
    assert class_item_values(scores, classes, "macro_f1") is None
    assert label_item_values(scores, several, "auroc") is None


def test_one_metric_alone_is_that_of_all(
    scores: np.ndarray, classes: np.ndarray, several: np.ndarray
) -> None:
    for measure, labels in (
        (class_metrics_by_replica, classes),
        (label_metrics_by_replica, several),
    ):
        for name, values in measure(scores, labels, NAMES).items():
            alone = measure(scores, labels, NAMES, name)
            assert list(alone) == [name]
            np.testing.assert_array_equal(alone[name], values)
        assert measure(scores, labels, NAMES, "unknown") == {}


def test_every_metric_has_a_direction(scores: np.ndarray, several: np.ndarray) -> None:
    task = Task("classes", names=NAMES)
    for name in class_metrics_by_replica(scores, np.arange(N) % 4, task.names):
        assert direction(name) == ("min" if name in ("log_loss", "ece") else "max")
    for name in label_metrics_by_replica(scores, several, NAMES):
        assert direction(name) == ("min" if name in ("log_loss", "ece") else "max")


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((2, 3)), [0, 1, 2], r"one logit for each name .* but got shape \(2, 3\)"),
        (np.zeros((1, 3, 2)), [0, 1], r"one entry for each of the 3 samples"),
        (np.zeros((1, 3, 2)), [0, 1, 2], "numbers of classes, 0 to 1, but got 2"),
        (np.full((1, 3, 2), np.nan), [0, 1, 0], "must be finite, but 6 of 6 are NaN"),
    ],
)
def test_scores_and_labels_that_do_not_fit_are_refused(
    scores: np.ndarray, labels: list[int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        class_metrics_by_replica(scores, labels, ("a", "b"))


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"must have the shape \(3, 2\) of the scores"):
        label_metrics_by_replica(np.zeros((1, 3, 2)), [0, 1, 0], ("a", "b"))
