"""The metrics of a task: of all samples, as values of single samples, and of the worst group.

Scores are `(replica, n)`, with names `(replica, n, C)`, and labels `(n,)`, of several at once
`(n, C)`, both as the task has them.
"""

from __future__ import annotations

import numpy.typing as npt

from cmir.data.task import Task
from cmir.metrics.field_metrics import (
    Metrics,
    classification_metrics_by_replica,
    regression_metrics_by_replica,
)
from cmir.metrics.group_metrics import (
    group_means,
    worst_environment_accuracy,
    worst_environment_mae,
)
from cmir.metrics.item_values import classification_item_values, regression_item_values
from cmir.metrics.metric_inputs import FloatArray
from cmir.metrics.named_metrics import (
    class_item_values,
    class_metrics_by_replica,
    label_item_values,
    label_metrics_by_replica,
)


def task_metrics(
    scores: npt.ArrayLike, labels: npt.ArrayLike, task: Task, only: str = ""
) -> Metrics:
    """Every metric by its name, each `(replica,)`.

    Args:
        scores: of the replicas.
        labels: of the samples.
        task: what is learned.
        only: the one metric that is wanted, where that saves time: of a task with names.

    Raises:
        InputError: scores or labels that no metric can take.
    """
    if task.kind == "binary":
        return classification_metrics_by_replica(scores, labels)
    if task.kind == "classes":
        return class_metrics_by_replica(scores, labels, task.names, only)
    if task.kind == "multilabel":
        return label_metrics_by_replica(scores, labels, task.names, only)
    return regression_metrics_by_replica(scores, labels, label_range=task.label_range)


def task_item_values(
    scores: npt.ArrayLike, labels: npt.ArrayLike, metric: str, task: Task
) -> FloatArray | None:
    """The values `(replica, n)` whose mean is a metric; None where it is no mean over samples.

    Raises:
        InputError: as `task_metrics`.
    """
    if task.kind == "binary":
        return classification_item_values(scores, labels, metric)
    if task.kind == "classes":
        return class_item_values(scores, labels, metric)
    if task.kind == "multilabel":
        return label_item_values(scores, labels, metric)
    return regression_item_values(scores, labels, metric, label_range=task.label_range)


def by_group(
    scores: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike, task: Task
) -> FloatArray:
    """The task's `group_metric` of each replica in each group, `(replica, group)`.

    Raises:
        InputError: as `task_metrics`.
    """
    values = task_item_values(scores, labels, task.group_metric, task)
    assert values is not None
    return group_means(values, groups)


def worst_group(
    scores: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike, task: Task
) -> FloatArray:
    """The task's `group_metric` in each replica's worst group `(replica,)`; groups are `(n,)`.

    Raises:
        InputError: as `task_metrics`.
    """
    if task.kind == "binary":
        return worst_environment_accuracy(scores, labels, groups)
    if task.is_named:
        worst: FloatArray = by_group(scores, labels, groups, task).min(axis=1)
        return worst
    return worst_environment_mae(scores, labels, groups)
