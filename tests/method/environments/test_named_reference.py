"""The reference predictor of classes and of several labels, and what is made of its mistakes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import log_loss

from cmir.data import DevelopmentData
from cmir.data.task import Task
from cmir.method.environments.clusters import label_bins
from cmir.method.environments.inferred_environments import eiil_environments, error_environments
from cmir.method.environments.partitions import Partitions, partition
from cmir.method.environments.reference import Reference, train_reference

CLASSES = Task("classes", names=("a", "b", "c"))
SEVERAL = Task("multilabel", names=("a", "b"))


def drawn(task: Task, n: int = 30) -> Reference:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n) if task == CLASSES else rng.integers(0, 2, (n, 2))
    return Reference(rng.normal(size=(n, task.outputs)), labels.astype(float), task)


def loss_at(scale: float, reference: Reference) -> np.ndarray:
    scaled = scale * reference.scores
    if reference.task == CLASSES:
        own = reference.labels.astype(int)[:, None]
        return np.asarray(-np.take_along_axis(log_softmax(scaled, axis=1), own, 1)[:, 0])
    return np.asarray((np.logaddexp(0, scaled) - reference.labels * scaled).mean(1))


@pytest.mark.parametrize("task", [CLASSES, SEVERAL])
def test_losses_and_their_slopes_by_the_scale_are_those_of_the_definition(task: Task) -> None:
    reference = drawn(task)
    np.testing.assert_allclose(reference.losses, loss_at(1, reference), rtol=1e-12)
    slopes = (loss_at(1 + 1e-6, reference) - loss_at(1 - 1e-6, reference)) / 2e-6
    np.testing.assert_allclose(reference.scale_gradients, slopes, atol=1e-8)


def test_errors_of_classes_are_wrong_decisions() -> None:
    reference = drawn(CLASSES)
    wanted = [
        int(np.argmax(f) != y) for f, y in zip(reference.scores, reference.labels, strict=True)
    ]
    assert error_environments(reference).tolist() == wanted
    assert set(eiil_environments(reference).tolist()) == {0, 1}


def test_errors_of_several_labels_are_the_quarter_of_the_largest_losses() -> None:
    reference = drawn(SEVERAL)
    groups = error_environments(reference)
    assert groups.sum() == round(0.25 * 30)
    assert reference.losses[groups == 1].min() >= reference.losses[groups == 0].max()


def test_the_reference_of_classes_is_better_than_their_shares(
    learning_classes: DevelopmentData,
) -> None:
    found = train_reference(learning_classes)
    assert found.scores.shape == (48, 3)
    shares = np.bincount(found.labels.astype(int)) / 48
    assert found.losses.mean() < log_loss(found.labels, np.tile(shares, (48, 1)))


def test_the_reference_of_several_labels_has_one_score_for_each(
    learning_multilabel: DevelopmentData,
) -> None:
    found = train_reference(learning_multilabel)
    assert found.scores.shape == (48, 2)
    assert found.losses.mean() < np.log(2)


@pytest.mark.parametrize("scheme", ["kmeans", "label_kmeans", "eiil"])
def test_partitions_of_named_tasks_are_made_and_diagnosed(
    learning_classes: DevelopmentData, learning_multilabel: DevelopmentData, scheme: str
) -> None:
    for data in (learning_classes, learning_multilabel):
        groups = partition(data, scheme, None if scheme == "eiil" else 2)
        assert set(groups.tolist()) == {0, 1}
    found = Partitions(learning_classes).diagnosis("kmeans", 2)
    assert found is not None
    assert sum(sum(row.labels) for row in found.environments) == 48
    assert {len(row.labels) for row in found.environments} == {3}


def test_bins_are_the_classes_that_occur_or_the_rarest_label() -> None:
    bins, edges = label_bins(np.array([0.0, 2.0, 2.0, 0.0]), CLASSES)
    assert (bins.tolist(), edges.tolist()) == ([0, 1, 1, 0], [2.0])
    rows = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    assert label_bins(rows, SEVERAL)[0].tolist() == [2, 1, 0, 2]
