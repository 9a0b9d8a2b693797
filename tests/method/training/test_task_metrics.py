"""Each task has the metrics of its kind and of its scale, and none of another."""

from __future__ import annotations

import numpy as np
import pytest

from cmir.data.task import SENTIMENT, Task
from cmir.method.training.task_metrics import task_item_values, task_metrics, worst_group
from cmir.metrics.field_metrics import (
    classification_metrics_by_replica,
    regression_metrics_by_replica,
)
from cmir.metrics.group_metrics import worst_environment_accuracy, worst_environment_mae
from cmir.metrics.item_values import (
    MOSI_RANGE,
    classification_item_values,
    regression_item_values,
)
from cmir.metrics.metric_directions import METRIC_DIRECTION

BINARY = Task("binary")
SIMS = Task("regression", (-1.0, 1.0))
TASKS = (SENTIMENT, SIMS, Task("regression"), BINARY)
GROUPS = np.arange(40) % 3


def made_up(task: Task) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.uniform(-1, 1, 40)
    scores = labels + rng.normal(size=(2, 40))
    return scores, (labels > 0).astype(float) if task == BINARY else labels


@pytest.mark.parametrize("task", [SENTIMENT, SIMS, Task("regression")])
def test_a_scale_has_the_metrics_of_its_range(task: Task) -> None:
    scores, labels = made_up(task)
    wanted = regression_metrics_by_replica(scores, labels, label_range=task.label_range)
    np.testing.assert_equal(task_metrics(scores, labels, task), wanted)
    for name in wanted:
        values = regression_item_values(scores, labels, name, label_range=task.label_range)
        np.testing.assert_equal(task_item_values(scores, labels, name, task), values)
    worst = worst_environment_mae(scores, labels, GROUPS)
    np.testing.assert_array_equal(worst_group(scores, labels, GROUPS, task), worst)


def test_two_classes_have_the_metrics_of_a_classification() -> None:
    scores, labels = made_up(BINARY)
    wanted = classification_metrics_by_replica(scores, labels)
    np.testing.assert_equal(task_metrics(scores, labels, BINARY), wanted)
    for name in wanted:
        values = classification_item_values(scores, labels, name)
        np.testing.assert_equal(task_item_values(scores, labels, name, BINARY), values)
    worst = worst_environment_accuracy(scores, labels, GROUPS)
    np.testing.assert_array_equal(worst_group(scores, labels, GROUPS, BINARY), worst)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_groups_are_compared_by_a_mean_over_samples_that_is_a_metric(task: Task) -> None:
    scores, labels = made_up(task)
    assert task.group_metric in task_metrics(scores, labels, task)
    assert task_item_values(scores, labels, task.group_metric, task) is not None
    assert f"worst_environment_{task.group_metric}" in METRIC_DIRECTION


def test_who_says_nothing_else_compares_on_the_scale_that_the_metrics_assume() -> None:
    assert SENTIMENT.label_range == MOSI_RANGE
