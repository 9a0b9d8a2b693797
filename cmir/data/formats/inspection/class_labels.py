"""Labels of a source that are classes, or several labels at once: from names, numbers, columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data.formats.inspection.texts import text_of
from cmir.data.label_checks import named
from cmir.data.task import Task, TaskKind
from cmir.errors import InputError

Numbers = npt.NDArray[np.float64]

# Soft labels are sums of shares that were rounded on the way into a file.
ROUNDED = 1e-3


@dataclass(frozen=True)
class LabelRequest:
    """What the user says of the labels.

    Attributes:
        kind: of the task; None: what the labels mean.
        names: of classes in the order of their numbers, or of columns; empty: as the source has it.
        threshold: above it a label of several holds.
    """

    kind: TaskKind | None = None
    names: tuple[str, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of all splits, one after the other.

    Attributes:
        values: `(n,)`, or `(n, C)` of a multilabel task.
        task: what they mean.
        notes: for the data card.
        keys: of the source that they come from, beside the one asked for.
    """

    values: Numbers
    task: Task
    notes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


def names_as_classes(
    names: Sequence[str | None], ids: Sequence[str], key: str, request: LabelRequest, where: str
) -> Labels:
    """Names `(n,)` as classes, numbered in the order asked for, else of the alphabet.

    Raises:
        InputError: a name is missing, or is none of those that were given.
    """
    texts = [(name or "").strip() for name in names]
    _refuse([not text for text in texts], ids, f"{where}: {key} must name a class, but is empty")
    known = request.names or tuple(sorted(set(texts)))
    _check_known(texts, known, ids, key, where)
    number = {name: float(place) for place, name in enumerate(known)}
    return Labels(np.array([number[t] for t in texts]), task_of("classes", known, where))


def lists_of_names(
    values: Sequence[Any], ids: Sequence[str], key: str, request: LabelRequest, where: str
) -> Labels:
    """A list of names for each sample, which may be empty, as labels that hold or not.

    Raises:
        InputError: something else among them, or a name that is none of those that were given.
    """
    is_odd = [not isinstance(v, list | tuple | np.ndarray) or not _all_texts(v) for v in values]
    _refuse(is_odd, ids, f"{where}: {key} must hold one number, one name or one list of names")
    told = [[text_of(name).strip() for name in value] for value in values]
    known = request.names or tuple(sorted({name for own in told for name in own}))
    for own, sample in zip(told, ids, strict=True):
        _check_known(own, known, [sample] * len(own), key, where)
    holds = np.array([[float(name in own) for name in known] for own in told])
    return Labels(holds, task_of("multilabel", known, where))


def numbers_as_classes(
    values: Numbers,
    ids: Sequence[str],
    key: str,
    request: LabelRequest,
    told: Sequence[str | None] | None,
    where: str,
) -> Labels:
    """Whole numbers `(n,)` as classes.

    Args:
        values: the numbers.
        ids: of the samples.
        key: of the label.
        request: with the names of the numbers 0, 1, 2, ..., if there are any.
        told: what the source calls each sample's class, where it does: names, if each number goes
            with one of them.
        where: the file named in messages.

    Raises:
        InputError: a number is not whole, or has no name.
    """
    is_wrong = (values != np.rint(values)) | ~np.isfinite(values)
    _refuse(is_wrong, ids, f"{where}: {key} must hold whole numbers to be classes, but does not")
    if request.names:
        last = len(request.names) - 1
        outside = (values < 0) | (values > last)
        _refuse(outside, ids, f"{where}: {key} must hold 0 to {last}, which --names names, but not")
        return Labels(values, task_of("classes", request.names, where))
    found, places = np.unique(values, return_inverse=True)
    names = _names_of(places, told) or tuple(f"{number:g}" for number in found)
    return Labels(places.astype(np.float64), task_of("classes", names, where))


def columns_as_labels(
    values: Numbers, ids: Sequence[str], key: str, request: LabelRequest, where: str
) -> Labels:
    """Numbers `(n, C)`: one of C classes, or C labels of which several may hold.

    Raises:
        InputError: NaN among them, shares of classes that do not sum to 1, or numbers that may mean
            two things.
    """
    _refuse(
        ~np.isfinite(values).all(axis=1),
        ids,
        f"{where}: {key} must hold finite numbers, but holds NaN or infinity",
    )
    count, kind = values.shape[1], _kind_of_columns(values, key, request, where)
    if request.names and len(request.names) != count:
        raise InputError(
            f"{where}: --names: must name the {count} columns of {key}, but names "
            f"{len(request.names)}."
        )
    names = request.names or tuple(str(column) for column in range(count))
    task = task_of(kind, names, where, request.threshold if kind == "multilabel" else None)
    if kind == "multilabel":
        return Labels(values, task)
    off = (values < 0).any(axis=1) | (np.abs(values.sum(axis=1) - 1) > ROUNDED)
    _refuse(off, ids, f"{where}: {key} must hold shares of classes that sum to 1, but does not")
    soft = "" if np.isin(values, (0.0, 1.0)).all() else f"{key}: of shares the largest is the class"
    return Labels(values.argmax(axis=1).astype(np.float64), task, (soft,) if soft else ())


def task_of(
    kind: TaskKind, names: Sequence[str], where: str, threshold: float | None = None
) -> Task:
    """A task with names; a fault names the file."""
    try:
        return Task(kind, names=tuple(names), threshold=threshold)
    except InputError as fault:
        raise InputError(f"{where}: {fault} Or name others: --names A,B,...") from None


def _kind_of_columns(values: Numbers, key: str, request: LabelRequest, where: str) -> TaskKind:
    if request.kind in ("classes", "multilabel"):
        return request.kind
    several = values.shape[1]
    one = f"choose one column: --label {key}:0 to {key}:{several - 1}"
    if request.kind is not None:
        raise InputError(
            f"{where}: {key} holds {several} columns for each sample, but a {request.kind} task "
            f"has one label. {one.capitalize()}."
        )
    if request.threshold is not None:
        return "multilabel"
    if np.isin(values, (0.0, 1.0)).all():
        return "classes" if (values.sum(axis=1) == 1).all() else "multilabel"
    raise InputError(
        f"{where}: {key} holds {several} columns for each sample. Say what they are: --task "
        f"multilabel --threshold 0 (intensities, a label holds above it), --task classes (shares "
        f"that sum to 1), or {one}."
    )


def _names_of(
    places: npt.NDArray[np.int64], told: Sequence[str | None] | None
) -> tuple[str, ...] | None:
    """What the source calls each class, where each has one name and each name one class."""
    if told is None or len(told) != len(places):
        return None
    pairs = {(int(place), (name or "").strip()) for place, name in zip(places, told, strict=True)}
    names = [name for _, name in sorted(pairs)]
    count = int(places.max(initial=-1)) + 1
    return tuple(names) if len(pairs) == count == len(set(names)) and all(names) else None


def _all_texts(values: Any) -> bool:
    return all(isinstance(value, str | bytes) for value in values)


def _check_known(
    names: Sequence[str], known: Sequence[str], ids: Sequence[str], key: str, where: str
) -> None:
    odd = [name for name in names if name not in known]
    if odd:
        _refuse(
            [name == odd[0] for name in names],
            ids,
            f"{where}: {key} must be one of {', '.join(known)}, but is {odd[0]!r}",
        )


def _refuse(is_wrong: Any, ids: Sequence[str], fault: str) -> None:
    wrong = np.flatnonzero(np.asarray(is_wrong))
    if len(wrong):
        raise InputError(f"{fault}: {named(pl.Series([ids[int(row)] for row in wrong]))}.")
