"""The names of the metrics, and whether a smaller or a larger value of each is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from cmir.errors import InputError

Direction = Literal["min", "max"]

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
}


def direction(metric: str) -> Direction:
    """Whether a smaller ("min") or a larger ("max") value of the metric is better.

    Args:
        metric: a name without its split, such as "mae".

    Raises:
        InputError: the metric is unknown.

    >>> direction("corr")
    'max'
    """
    if metric not in METRIC_DIRECTION:
        known = ", ".join(METRIC_DIRECTION)
        raise InputError(f"metric: must be one of {known}, but got {metric!r}.")
    return METRIC_DIRECTION[metric]
