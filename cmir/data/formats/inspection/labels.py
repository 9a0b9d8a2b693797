"""Labels of a source as one number for each sample, and what is possible where they are more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.samples import usual_task
from cmir.data.task import Task, TaskKind
from cmir.errors import InputError

Numbers = npt.NDArray[np.float64]

SHOWN = 6
MOST_CLASSES = 20


def read_numbers(split: Mapping[str, Any], key: str, count: int, where: str) -> Numbers:
    """One number for each sample, `(count,)`.

    Raises:
        InputError: the key is missing, or holds something else.
    """
    if key not in split:
        raise InputError(f"{where}: must have the key {key!r}, but has not.")
    values = _as_numbers(split[key], key, where)
    if values.size != count:
        raise InputError(
            f"{where}: {key} must hold {count} numbers, one for each id, but holds {values.size}."
        )
    return values.reshape(-1)


def read_labels(split: Mapping[str, Any], label: str, count: int, where: str) -> Numbers:
    """The labels under a key, or one column of several, `key:column`, counted from 0.

    Raises:
        InputError: the key is missing, holds names, or several numbers for each sample.
    """
    key, colon, column = label.rpartition(":")
    if not colon or label in split:
        key, column = label, ""
    if key not in split:
        raise InputError(f"{where}: must have the key {key!r}, but has not.")
    values = _as_numbers(split[key], key, where)
    several = values.size // count if count and not values.size % count else 0
    if several > 1 and len(values) == count:
        return _column(values.reshape(count, several), key, column, where)
    if column not in ("", "0"):
        raise InputError(f"{where}: --label {label}: {key} holds no column {column}, only one.")
    return read_numbers(split, key, count, where)


def find_task(labels: Numbers, key: str, where: str, kind: TaskKind | None = None) -> Task:
    """The task that the labels mean: "binary" if all of them are 0 or 1, else "regression".

    Args:
        labels: of all splits.
        key: their name in the source.
        where: the file named in messages.
        kind: where the user names it.

    Raises:
        InputError: the labels are classes, and more than two.
    """
    task = usual_task(labels, kind)
    if kind is None and task.kind == "regression" and key == "classification_labels":
        raise InputError(
            f"{where}: {key} must be 0 or 1, but goes from {labels.min():g} to {labels.max():g}. "
            "Name another key with --label, or treat it as a scale with --task regression."
        )
    return task


def warn_of_classes(labels: Numbers, key: str) -> tuple[str, ...]:
    """A warning where the numbers of a scale look like classes: 0, 1, 2 and so on, each there."""
    found = np.unique(labels)
    if not 3 <= len(found) <= MOST_CLASSES or not np.array_equal(found, np.arange(len(found))):
        return ()
    if "regression" in key:
        return ()
    return (
        f"{key}: {len(found)} whole numbers from 0 to {len(found) - 1} look like classes, but are "
        "learned as a scale. If they have no order, learn one against the others: write 0 and 1",
    )


def _as_numbers(values: Any, key: str, where: str) -> Numbers:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        pass
    names = _names(values)
    if not names:
        raise InputError(f"{where}: {key} must hold one number for each sample.")
    told = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    ways = (
        f"write 0 for {names[0]} and 1 for {names[1]}"
        if len(names) == 2
        else "write 0 and 1 to learn one class against the others, or the numbers of a scale where "
        "the classes have an order"
    )
    raise InputError(
        f"{where}: {key} must hold one number for each sample, but holds {len(names)} names of "
        f"classes: {told}. Put numbers in their place: {ways}; or name another key with --label."
    )


def _names(values: Any) -> list[str]:
    try:
        return sorted({str(value) for value in np.asarray(values, object).reshape(-1).tolist()})
    except ValueError:
        return []


def _column(values: Numbers, key: str, column: str, where: str) -> Numbers:
    several = values.shape[1]
    if column.isdecimal() and int(column) < several:
        return values[:, int(column)]
    classes = " (columns of 0 and 1 are classes)" if np.isin(values, (0.0, 1.0)).all() else ""
    asked = f"--label {key}:{column}: " if column else ""
    raise InputError(
        f"{where}: {asked}{key} holds {several} columns for each sample, but one label is learned. "
        f"Choose one: --label {key}:0 to {key}:{several - 1}{classes}."
    )
