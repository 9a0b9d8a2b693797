"""The names of the metrics, and whether a smaller or a larger value of each is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from cmir.errors import InputError

Direction = Literal["min", "max"]

# Of classes and of several labels alone.
OF_NAMED_TASKS: Mapping[str, Direction] = {
    "uar": "max",
    "weighted_f1": "max",
    "macro_f1": "max",
    "micro_f1": "max",
    "mcc": "max",
    "label_accuracy": "max",
    "weighted_accuracy": "max",
    "auroc": "max",
    "average_precision": "max",
    "worst_environment_label_accuracy": "max",
    "tenth_percentile_label_accuracy": "max",
}
# Measured once, when a trial has ended, and of no split's predictions alone: a second objective.
OF_ENDED_TRIALS: Mapping[str, Direction] = {
    "split/leak": "min",
    "unlabelled/disagreement": "min",
}
METRIC_DIRECTION: Mapping[str, Direction] = {
    "mae": "min",
    "corr": "max",
    "acc7": "max",
    "acc5": "max",
    "acc3": "max",
    "acc2": "max",
    "acc2_has0": "max",
    "acc2_non0": "max",
    "f1": "max",
    "f1_has0": "max",
    "f1_non0": "max",
    "accuracy": "max",
    "auc": "max",
    "brier": "min",
    "log_loss": "min",
    "worst_environment_mae": "min",
    "worst_environment_accuracy": "max",
    "tenth_percentile_mae": "min",
    "tenth_percentile_accuracy": "max",
    "ece": "min",
    **OF_NAMED_TASKS,
    **{key.partition("/")[2]: better for key, better in OF_ENDED_TRIALS.items()},
}
# Of one class or label, whose name follows.
OF_ONE_NAME = ("f1_", "weighted_accuracy_", "auroc_", "average_precision_")


def direction(metric: str) -> Direction:
    """Whether a smaller ("min") or a larger ("max") value of the metric is better.

    Args:
        metric: a name without its split, such as "mae".

    Raises:
        InputError: the metric is unknown.

    >>> direction("corr")
    'max'
    """
    if metric not in METRIC_DIRECTION and metric.startswith(OF_ONE_NAME):
        return "max"
    if metric not in METRIC_DIRECTION:
        known = ", ".join(METRIC_DIRECTION)
        raise InputError(f"metric: must be one of {known}, but got {metric!r}.")
    return METRIC_DIRECTION[metric]
