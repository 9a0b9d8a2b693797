"""What a sweep has found so far, as tables: pure functions of its trial records.

Trials are ranked by the objective, which is always of a validation split. Where a function takes
`objective` it is `split/metric`, and the metric's own direction decides which value is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from cmir.metrics.metric_directions import direction
from cmir.metrics.non_dominated import front
from cmir.runner.studies.records import OUTCOMES, TrialRecord

OF_CLASSES = ("accuracy", "auc", "brier", "f1", "log_loss", "worst_environment_accuracy")
# Where neither a scale nor classes are measured, what stands for several labels.
OF_TASKS = ("mae", "accuracy", "label_accuracy")


def leaderboard(records: Sequence[TrialRecord], objective: str) -> pl.DataFrame:
    """One row per ended trial, best first: finished by objective, then pruned, diverged, failed.

    Args:
        records: of one sweep.
        objective: `split/metric`, in the metric's units.

    Returns:
        Columns `rank` (finished trials only, from 1), `trial`, `outcome`, `scheme`; the objective
        under its own name and `<objective>_std` over the seeds; `id_val` and `ood_val` of `mae`
        (regression), `accuracy` (classes) or `label_accuracy` (several labels) where the objective
        is not it; each searched parameter by its dotted key, in alphabetical order, null where its
        condition did not hold;
        `seconds` of training; `best_epoch`, mean over the seeds. A pruned trial has its best
        objective so far and its last other metrics, a diverged or failed one has none. The columns
        and their types do not depend on how the trials ended.

    Raises:
        InputError: the objective's metric is unknown.
    """
    sign = 1.0 if is_lower_better(objective) else -1.0
    kinds = {key: _kind(key, records) for key in _searched(records)}
    ordered = sorted(records, key=lambda record: _place(record, sign))
    ranked = len(finished(records))
    metrics = [objective, f"{objective}_std", *_main_metrics(records, objective)]
    schema: dict[str, Any] = {"rank": pl.Int64, "trial": pl.Int64}
    schema |= {"outcome": pl.String, "scheme": pl.String}
    schema |= dict.fromkeys(metrics, pl.Float64) | kinds
    schema |= {"seconds": pl.Float64, "best_epoch": pl.Float64}
    rows = [
        {"rank": rank if rank <= ranked else None, **_told(record)}
        | {key: score_of(record, key) for key in metrics}
        | {objective: value_of(record)}
        | {key: _as(kind, record.params.get(key)) for key, kind in kinds.items()}
        for rank, record in enumerate(ordered, start=1)
    ]
    return pl.DataFrame(rows, schema=schema)


def pareto_front(records: Sequence[TrialRecord], objective: str) -> list[int]:
    """Finished trials that no other beats in and out of distribution at once.

    A trial is beaten by one that is at least as good on both of `id_val` and `ood_val`, in the
    objective's metric, and better on one. Of trials with equal scores all stay.

    Returns:
        Trial numbers, the best in distribution first; so the last is the best out of distribution.

    Raises:
        InputError: the objective's metric is unknown.
    """
    sign = 1.0 if is_lower_better(objective) else -1.0
    scores = validation_scores(records, objective)
    numbers = sorted(scores)
    return [numbers[place] for place in front([np.multiply(sign, scores[n]) for n in numbers])]


def validation_scores(
    records: Sequence[TrialRecord], objective: str
) -> dict[int, tuple[float, float]]:
    """Of each finished trial that has both: the objective's metric on (`id_val`, `ood_val`)."""
    metric = objective.partition("/")[2]
    scores = {}
    for record in finished(records):
        inside, outside = (score_of(record, f"{split}/{metric}") for split in ("id_val", "ood_val"))
        if inside is not None and outside is not None:
            scores[record.number] = (inside, outside)
    return scores


def schemes_compared(records: Sequence[TrialRecord], objective: str) -> pl.DataFrame:
    """Environment schemes side by side, the one with the best trial first.

    TPE gives a promising scheme more trials, and the best of more trials is better by chance
    alone: read `best` beside `finished`, and `median` beside both.

    Returns:
        Columns `scheme`, `trials` (all ended), `finished`, and over the finished ones `best` and
        `median` of the objective, in its units, null where none has finished.

    Raises:
        InputError: the objective's metric is unknown.
    """
    value = pl.col(objective).filter(pl.col("rank").is_not_null())
    lower = is_lower_better(objective)
    compared = (
        leaderboard(records, objective)
        .group_by("scheme")
        .agg(
            pl.len().cast(pl.Int64).alias("trials"),
            (pl.col("outcome") == "finished").sum().cast(pl.Int64).alias("finished"),
            (value.min() if lower else value.max()).alias("best"),
            value.median().alias("median"),
        )
    )
    return compared.sort("best", "scheme", descending=[not lower, False], nulls_last=True)


def finished(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The finished trials that have a value of the objective."""
    return [r for r in records if r.outcome == "finished" and value_of(r) is not None]


def best_trial(records: Sequence[TrialRecord], objective: str) -> TrialRecord | None:
    """The finished trial with the best objective, the earliest of equals; None if there is none."""
    return next(iter(ranked(records, objective)), None)


def ranked(records: Sequence[TrialRecord], objective: str) -> list[TrialRecord]:
    """The finished trials that have a value, the best first, of equals the earliest."""
    sign = 1.0 if is_lower_better(objective) else -1.0
    return sorted(finished(records), key=lambda record: _place(record, sign))


def is_lower_better(objective: str) -> bool:
    """Whether a smaller value of `split/metric` is the better one.

    Raises:
        InputError: the metric is unknown.

    Example:
        >>> is_lower_better("ood_val/mae")
        True
    """
    return direction(objective.partition("/")[2]) == "min"


def value_of(record: TrialRecord) -> float | None:
    """A trial's objective, None if it has no finite one."""
    return _finite(record.objective)


def score_of(record: TrialRecord, key: str) -> float | None:
    """A trial's metric `split/metric`, None if it has no finite one."""
    return _finite(record.ending.metrics.get(key))


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _place(record: TrialRecord, sign: float) -> tuple[int, float, int]:
    value = value_of(record)
    loss = math.inf if value is None else sign * value
    return OUTCOMES.index(record.outcome), loss, record.number


def _told(record: TrialRecord) -> dict[str, Any]:
    epochs = record.ending.best_epochs
    return {
        "trial": record.number,
        "outcome": record.outcome,
        "scheme": record.scheme,
        "seconds": float(record.ending.seconds),
        "best_epoch": float(np.mean(epochs)) if len(epochs) else None,
    }


def _main_metrics(records: Sequence[TrialRecord], objective: str) -> list[str]:
    metric = objective.partition("/")[2]
    measured = {key for record in records for key in record.ending.metrics}
    # `f1` is a metric of both tasks.
    of_classes = metric in OF_CLASSES and "ood_val/mae" not in measured
    name = "accuracy" if of_classes else "mae"
    if measured:
        name = next((one for one in OF_TASKS if f"ood_val/{one}" in measured), name)
    return [key for key in (f"id_val/{name}", f"ood_val/{name}") if key != objective]


def _searched(records: Sequence[TrialRecord]) -> list[str]:
    return sorted({key for record in records for key in record.params})


def _kind(key: str, records: Sequence[TrialRecord]) -> type[pl.DataType]:
    types = {type(record.params[key]) for record in records if key in record.params}
    if types == {bool}:
        return pl.Boolean
    if types == {int}:
        return pl.Int64
    return pl.Float64 if types <= {int, float} else pl.String


def _as(kind: type[pl.DataType], value: Any) -> Any:
    if value is None:
        return None
    return str(value) if kind == pl.String else float(value) if kind == pl.Float64 else value
