"""Metrics of a stack of replicas on whole splits, and the objective among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cmir.data import SplitData
from cmir.data.task import Task
from cmir.errors import InputError
from cmir.method.training.task_metrics import task_metrics, worst_group
from cmir.metrics.metric_directions import direction

SMALLEST_GROUP = 8
GROUP_COLUMNS = ("environment", "speaker", "video", "source")
WORST = "worst_environment_"

ByReplica = dict[str, np.ndarray]


@dataclass(frozen=True)
class Goal:
    """What is optimised: a metric on a validation split, and which way is better."""

    split: str
    metric: str
    sign: float

    def value(self, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
        """The objective per replica, `(replica,)`, in the metric's own units."""
        return metrics[f"{self.split}/{self.metric}"]


def goal_of(objective: str, task: Task) -> Goal:
    """Reads an objective such as `ood_val/mae`.

    Raises:
        InputError: unknown metric, or one that the task does not have.
    """
    split, metric = objective.split("/")
    known = known_metrics(task)
    if metric not in known:
        raise InputError(
            f"objective must be one of {', '.join(f'{split}/{name}' for name in known)} for this "
            f"task ({task}), but got '{objective}'."
        )
    return Goal(split, metric, 1.0 if direction(metric) == "min" else -1.0)


def known_metrics(task: Task) -> tuple[str, ...]:
    """Names of the metrics that `split_metrics` reports for a task."""
    scores, labels = some_scores(task)
    return (*task_metrics(scores, labels, task), worst_metric(task))


def some_scores(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Scores of one replica that a task could have, and labels that they fit."""
    if not task.is_named:
        one = np.array([[0.0, 1.0]])
        return one, one[0]
    each = np.eye(len(task.names))
    return 2 * each[None] - 1, each if task.kind == "multilabel" else np.arange(len(each))


def worst_metric(task: Task) -> str:
    """The metric of the worst group, such as `worst_environment_mae`."""
    return f"{WORST}{task.group_metric}"


def split_metrics(predictions: np.ndarray, split: SplitData, task: Task) -> ByReplica:
    """Every metric of one split.

    Args:
        predictions: `(replica, n)` scores in label units, or logits; with names `(replica, n, C)`.
        split: with n labels.
        task: what is learned.

    Returns:
        `split/metric` to `(replica,)`; `split/worst_environment_mae` (binary: `_accuracy`) is the
        worst mean over the `evaluation_groups` that have at least 8 samples, or over all of them
        where none has.
    """
    metrics = dict(task_metrics(predictions, split.labels, task))
    metrics[worst_metric(task)] = _worst(predictions, split, task)
    return {f"{split.name}/{name}": value for name, value in metrics.items()}


def evaluation_groups(split: SplitData) -> np.ndarray:
    """Group of each sample, `(n,)`: the first of environment, speaker, video, source that exists.

    Groups of fewer than 8 samples are pooled into one; a split without such a column is one group.
    """
    column = next((name for name in GROUP_COLUMNS if name in split.samples.columns), None)
    if column is None:
        return np.zeros(len(split.rows), dtype=np.int64)
    values = split.samples[column].cast(str).to_numpy().astype(str)
    _, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
    large = sizes >= SMALLEST_GROUP
    names = np.where(large, np.arange(len(sizes)), len(sizes))
    return np.asarray(np.unique(names[inverse], return_inverse=True)[1], dtype=np.int64)


def summary(metrics: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Mean over replicas under the metric's name and the sample deviation under `name_std`."""
    means = {name: float(np.mean(values)) for name, values in metrics.items()}
    spreads = {
        f"{name}_std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        for name, values in metrics.items()
    }
    return means | spreads


def counted_samples(split: SplitData) -> np.ndarray:
    """Which samples `(n,)` are in a group among which the worst is looked for."""
    groups = evaluation_groups(split)
    sizes = np.bincount(groups)[groups]
    return np.asarray(sizes >= min(SMALLEST_GROUP, sizes.max()))


def _worst(predictions: np.ndarray, split: SplitData, task: Task) -> np.ndarray:
    groups, counted = evaluation_groups(split), counted_samples(split)
    return worst_group(predictions[:, counted], split.labels[counted], groups[counted], task)
