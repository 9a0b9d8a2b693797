"""What is measured of a training once, when it has ended: the second objective of a pair."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.evaluation.probes.label_leak import label_leak, validation_samples
from cmir.evaluation.probes.linear_probes import BySeed
from cmir.method.training.fitting import check_objective
from cmir.method.training.reports import TrialResult
from cmir.method.training.split_scores import summary
from cmir.metrics.metric_directions import OF_ENDED_TRIALS

# By the names of `OF_ENDED_TRIALS`.
MEASURES: Mapping[str, Callable[[TrialResult, DevelopmentData], BySeed]] = {
    "split/leak": label_leak,
}


def measured(result: TrialResult, data: DevelopmentData, names: Iterable[str]) -> TrialResult:
    """The result with what is measured of it among its metrics, mean and deviation over seeds.

    Args:
        result: of a finished training.
        data: that it was trained on.
        names: in `MEASURES`; what the result has already is not measured again.
    """
    missing = [name for name in dict.fromkeys(names) if name not in result.metrics]
    found = {name: MEASURES[name](result, data) for name in missing}
    by_seed = {name: tuple(values.tolist()) for name, values in found.items()}
    return replace(
        result,
        metrics={**result.metrics, **summary(found)},
        by_seed={**result.by_seed, **by_seed},
    )


def measures_among(objectives: Iterable[str]) -> tuple[str, ...]:
    """Those of several objectives that are measured when a training has ended."""
    return tuple(name for name in objectives if name in OF_ENDED_TRIALS)


def check_second(objective: str, data: DevelopmentData, config: TrialConfig) -> None:
    """Raises InputError where a second objective can have no value on this data."""
    if objective not in OF_ENDED_TRIALS:
        check_objective(data, config.model_copy(update={"objective": objective}))
        return
    labels = validation_samples(data)[1]
    if np.ptp(labels, axis=0).max() == 0:
        raise InputError(
            f"objective: '{objective}' cannot be measured on '{data.name}', whose validation "
            "labels are all the same: choose another second objective."
        )
