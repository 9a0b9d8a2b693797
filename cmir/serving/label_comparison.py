"""Predictions beside what the samples are labelled with: columns of errors, and scores by split."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data.task import Task
from cmir.errors import InputError
from cmir.method.training.task_metrics import task_metrics
from cmir.serving.outputs import HALF, SEPARATOR

LABEL, ERROR = "label", "error"
SPLIT = "split"
# Of a source that tells no splits.
ALL = "all"

Array = npt.NDArray[Any]


def with_labels(table: pl.DataFrame, labels: Array, task: Task) -> pl.DataFrame:
    """The table with the columns `label` and `error` behind the prediction.

    `error` is prediction less label of a regression, 1 or 0 of a wrong or right class, and of
    several labels the share of names that is wrong.

    Args:
        table: predictions, as `Ensemble.predict` gives them, n rows.
        labels: `(n,)`, of several labels `(n, C)`, as in `Task`; NaN where a sample has none.
        task: what is predicted.

    Example:
        >>> table = pl.DataFrame({"prediction": [1.5], "std": [0.1]})
        >>> with_labels(table, np.array([1.0]), Task("regression")).row(0)
        (1.5, 1.0, 0.5, 0.1)
    """
    place = table.columns.index("prediction") + 1
    known: Array = np.isfinite(labels).reshape(table.height, -1).min(axis=1)
    told = [_told(label, task) if has else None for label, has in zip(labels, known, strict=True)]
    errors = np.where(known, _errors(table, labels, task), np.nan)
    # Float32 labels such as 0.6 would be shown with 17 digits.
    shown = pl.Series(LABEL, told, strict=False)
    return table.insert_column(place, shown).insert_column(
        place + 1, pl.Series(ERROR, errors, nan_to_null=True)
    )


def scores_by_split(table: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Metrics of the served predictions, a column for each split and a row for each metric.

    Args:
        table: of `with_labels`; samples without a label are left out.
        task: what is predicted.

    Returns:
        `metric`, and a column for each split of the table that has labels; the first row counts
        the samples, the second is the task's own metric.
    """
    if LABEL not in table.columns:
        return pl.DataFrame({"metric": []})
    known = table.drop_nulls(LABEL)
    if SPLIT not in known.columns:
        known = known.with_columns(pl.lit(ALL).alias(SPLIT))
    parts = known.partition_by(SPLIT, as_dict=True, maintain_order=True)
    found = {str(name): _metrics(part, task) for (name,), part in parts.items()}
    names = sorted({name for one in found.values() for name in one}, key=_order(task))
    columns = {split: [one.get(name) for name in names] for split, one in found.items()}
    return pl.DataFrame({"metric": names, **columns})


def labels_given(given: Any, task: Task, count: int, where: str) -> Array:
    """Labels beside a request: numbers, or names of classes.

    Raises:
        InputError: not one for each sample, or a name that the model does not know.
    """
    found = np.asarray(given)
    if task.kind == "classes" and found.dtype.kind in "USO":
        numbers = {name: number for number, name in enumerate(task.names)}
        unknown = sorted({str(one) for one in found.tolist()} - set(numbers))
        if unknown:
            raise InputError(
                f"{where}: {LABEL} must hold names of {', '.join(task.names)}, but got "
                f"{unknown[0]!r}. Leave {LABEL} out to predict without comparing."
            )
        found = np.array([numbers[str(one)] for one in found.tolist()])
    wanted = (count, len(task.names)) if task.kind == "multilabel" else (count,)
    if found.shape != wanted or found.dtype.kind not in "fiub":
        raise InputError(
            f"{where}: {LABEL} must hold numbers of shape {wanted}, one for each sample, but holds "
            f"{found.dtype} of shape {found.shape}. Leave {LABEL} out to predict without comparing."
        )
    return found.astype(np.float64)


def is_same_task(one: Task, other: Task) -> bool:
    """Whether labels of one can be compared with predictions of the other; scales may differ."""
    return (one.kind, one.names) == (other.kind, other.names)


def _told(label: Any, task: Task) -> Any:
    if task.kind == "classes":
        return task.names[int(label)]
    if task.kind == "multilabel":
        return SEPARATOR.join(name for name, holds in zip(task.names, label, strict=True) if holds)
    return int(label) if task.kind == "binary" else float(str(label))


def _errors(table: pl.DataFrame, labels: Array, task: Task) -> Array:
    if task.kind == "regression":
        return np.asarray(table["prediction"].to_numpy() - labels)
    if task.kind == "binary":
        return np.asarray(table["prediction"].to_numpy() != labels, float)
    chances = _chances(table, task)
    if task.kind == "classes":
        return np.asarray(chances.argmax(axis=1) != labels, float)
    return np.asarray(((chances >= HALF) != (labels > 0)).mean(axis=1))


def _chances(table: pl.DataFrame, task: Task) -> Array:
    return table.select(f"probability_{name}" for name in task.names).to_numpy()


def _metrics(table: pl.DataFrame, task: Task) -> dict[str, float]:
    scores, labels = _scores(table, task), _labels(table, task)
    found = task_metrics(scores[None], labels, task)
    return {"samples": float(table.height)} | {name: float(v[0]) for name, v in found.items()}


def _labels(table: pl.DataFrame, task: Task) -> Array:
    if not task.is_named:
        return np.asarray(table[LABEL].to_numpy(), float)
    held = [set(text.split(SEPARATOR)) for text in table[LABEL]]
    rows = np.array([[name in names for name in task.names] for names in held], float)
    return rows if task.kind == "multilabel" else rows.argmax(axis=1)


def _scores(table: pl.DataFrame, task: Task) -> Array:
    """What is served as a score: label units, or the logits of the mean probabilities."""
    if task.kind == "regression":
        return table["prediction"].to_numpy()
    limit = np.finfo(np.float64).eps
    chances = _chances(table, task) if task.is_named else table["probability"].to_numpy()
    chances = chances.clip(limit, 1 - limit)
    if task.kind == "classes":
        return np.asarray(np.log(chances))
    return np.asarray(np.log(chances) - np.log1p(-chances))


def _order(task: Task) -> Any:
    """The number of samples, the task's own metric, then the others by name."""
    first = ["samples", task.group_metric]
    return lambda name: (first.index(name) if name in first else len(first), name)
