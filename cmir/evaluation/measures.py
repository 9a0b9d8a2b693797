"""What is measured of a training once, when it has ended: for a pair of objectives, or a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from cmir.config import CV, TrialConfig, is_cross_validated
from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.evaluation.disagreement import disagreement
from cmir.evaluation.probes.label_leak import label_leak, validation_samples
from cmir.evaluation.probes.linear_probes import BySeed
from cmir.method.training.fitting import check_objective
from cmir.method.training.reports import TrialResult
from cmir.method.training.split_scores import summary
from cmir.metrics.metric_directions import OF_ENDED_TRIALS

# By the names of `OF_ENDED_TRIALS`.
MEASURES: Mapping[str, Callable[[TrialResult, DevelopmentData], BySeed]] = {
    "split/leak": label_leak,
    "unlabelled/disagreement": disagreement,
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
    """Raises InputError where a second objective, or a measure, can have no value on this data."""
    if objective not in OF_ENDED_TRIALS:
        _check_split_is_scored(objective, config)
        check_objective(data, config.model_copy(update={"objective": objective}))
    elif objective == "split/leak" and np.ptp(validation_samples(data)[1], axis=0).max() == 0:
        raise InputError(
            f"objective: '{objective}' cannot be measured on '{data.name}', whose validation "
            "labels are all the same: choose another."
        )
    elif objective == "unlabelled/disagreement" and len(config.seeds) < 2:
        raise InputError(
            f"objective: '{objective}' needs at least 2 seeds, but got {len(config.seeds)}: give "
            "more, or choose another."
        )


def _check_split_is_scored(objective: str, config: TrialConfig) -> None:
    """Folds are left out only where the first objective asks for them."""
    if is_cross_validated(objective) and not is_cross_validated(config.objective):
        raise InputError(
            f"objective: '{objective}' as the second of a pair needs {CV}/<metric> as the first, "
            f"but got '{config.objective}'."
        )
