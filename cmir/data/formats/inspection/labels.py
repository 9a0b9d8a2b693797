"""Labels of a source, and the task that they mean: numbers, names of classes, several at once.

Nothing is guessed: where labels may mean two things, both ways to say which are named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.formats.inspection.class_labels import (
    LabelRequest,
    Labels,
    columns_as_labels,
    lists_of_names,
    names_as_classes,
    numbers_as_classes,
)
from cmir.data.formats.inspection.texts import texts
from cmir.data.label_checks import may_be_classes, shown_values, usual_task
from cmir.errors import InputError

Numbers = npt.NDArray[np.float64]

# A label under such a key says by its name what it is.
CLASSES_KEY, SCALE_KEY, NAMES_KEY = "classification_labels", "regression", "annotations"
SEVERAL = "*"


@dataclass(frozen=True, eq=False)
class _Split:
    """One split of a source, as far as labels go."""

    values: Mapping[str, Any]
    ids: list[str]
    where: str


def read_numbers(split: Mapping[str, Any], key: str, count: int, where: str) -> Numbers:
    """One number for each sample, `(count,)`.

    Raises:
        InputError: the key is missing, or holds something else.
    """
    if key not in split:
        raise InputError(f"{where}: must have the key {key!r}, but has not.")
    values = _as_numbers(split[key])
    if values is None:
        raise InputError(f"{where}: {key} must hold one number for each sample.")
    if values.size != count:
        raise InputError(
            f"{where}: {key} must hold {count} numbers, one for each id, but holds {values.size}."
        )
    return values.reshape(-1)


def read_labels(
    splits: Mapping[str, Mapping[str, Any]],
    ids: Mapping[str, list[str]],
    key: str,
    request: LabelRequest,
    where: str,
) -> Labels:
    """The labels of all splits under a key, and what they mean.

    Numbers are a scale or 0 and 1; names are classes, lists of names several labels; columns with a
    single 1 in each row are classes, other columns of 0 and 1 several labels.

    Args:
        splits: their keys and values, by name of the split.
        ids: of the samples of each split.
        key: of the label; `key:column` for one of several columns, counted from 0; `prefix*` for
            all keys that begin so, each a label of its own.
        request: what the user says of the labels.
        where: the file named in messages.

    Raises:
        InputError: the key is missing, labels that mean nothing, or two things.
    """
    own = [_Split(splits[name], ids[name], f"{where}: {name}") for name in splits]
    if key.endswith(SEVERAL):
        return _by_prefix(own, key.removesuffix(SEVERAL), request, where)
    key, column = _key_and_column(own[0], key)
    _check_key(own, key)
    arrays = [_as_numbers(split.values[key]) for split in own]
    if all(array is None for array in arrays):
        return _names(own, key, request, where)
    for array, split in zip(arrays, own, strict=True):
        if array is None:
            raise InputError(
                f"{split.where}: {key} must hold one number for each sample, as other splits do."
            )
    parts = [
        _counted(array, split, key)
        for array, split in zip(arrays, own, strict=True)
        if array is not None
    ]
    if parts[0].ndim == 2 and not column and _is_flat(splits[next(iter(splits))][key]):
        return columns_as_labels(np.concatenate(parts), _ids(own), key, request, where)
    chosen = [
        _column(part, key, column, split.where) for part, split in zip(parts, own, strict=True)
    ]
    return _numbers(np.concatenate(chosen), own, key, request, where)


def _numbers(
    values: Numbers, own: list[_Split], key: str, request: LabelRequest, where: str
) -> Labels:
    kind = request.kind
    says_classes = kind is None and key == CLASSES_KEY and may_be_classes(values)
    if kind == "classes" or says_classes or (kind is None and request.names):
        annotated = [split.values.get(NAMES_KEY) for split in own]
        told = [texts(one, " ", where) for one in annotated if one is not None]
        known = [name for one in told for name in one] if len(told) == len(own) else None
        return numbers_as_classes(values, _ids(own), key, request, known, where)
    if kind == "multilabel" or request.threshold is not None:
        raise InputError(
            f"{where}: {key} must hold several numbers for each sample to be several labels, but "
            "holds one. Name another key with --label, or several: --label emotion_*."
        )
    if kind is None and SCALE_KEY not in key and may_be_classes(values):
        raise InputError(
            f"{where}: {key} holds the whole numbers {shown_values(values)}: classes or a scale? "
            "Say which: --task classes (with --names, if they have any), --task regression, or "
            "--label-range LOW HIGH. A class against the others is --task binary, of 0 and 1."
        )
    return Labels(values, usual_task(values, kind))


def _names(own: list[_Split], key: str, request: LabelRequest, where: str) -> Labels:
    values = [value for split in own for value in _listed(split, key)]
    ids = _ids(own)
    if request.kind not in (None, "classes", "multilabel"):
        raise InputError(
            f"{where}: {key} must hold one number for each sample of a {request.kind} task, but "
            "holds names. Leave --task out, and they are classes."
        )
    if any(isinstance(value, list | tuple | np.ndarray) for value in values):
        return lists_of_names(values, ids, key, request, where)
    if request.kind == "multilabel":
        raise InputError(
            f"{where}: {key} must hold a list of names for each sample of a multilabel task, but "
            "holds single ones. Leave --task out, and they are classes."
        )
    return names_as_classes(texts(values, " ", where), ids, key, request, where)


def _listed(split: _Split, key: str) -> list[Any]:
    values = split.values[key]
    listed = list(values) if isinstance(values, list | tuple | np.ndarray) else []
    if len(listed) != len(split.ids):
        raise InputError(
            f"{split.where}: {key} must hold {len(split.ids)} labels, one for each id, but holds "
            f"{len(listed)}."
        )
    return listed


def _by_prefix(own: list[_Split], prefix: str, request: LabelRequest, where: str) -> Labels:
    keys = [key for key in own[0].values if key.startswith(prefix) and key != prefix]
    if len(keys) < 2:
        raise InputError(
            f"{where}: --label {prefix}*: there must be several keys that begin with {prefix}, but "
            f"there are {len(keys)}."
        )
    columns = [
        np.concatenate([read_numbers(s.values, key, len(s.ids), s.where) for s in own])
        for key in keys
    ]
    named = LabelRequest(
        request.kind,
        request.names or tuple(k.removeprefix(prefix) for k in keys),
        request.threshold,
    )
    found = columns_as_labels(np.stack(columns, axis=1), _ids(own), f"{prefix}*", named, where)
    return Labels(found.values, found.task, found.notes, tuple(keys))


def _key_and_column(split: _Split, label: str) -> tuple[str, str]:
    key, colon, column = label.rpartition(":")
    return (label, "") if not colon or label in split.values else (key, column)


def _check_key(own: list[_Split], key: str) -> None:
    for split in own:
        if key not in split.values:
            raise InputError(f"{split.where}: must have the key {key!r}, but has not.")


def _ids(own: list[_Split]) -> list[str]:
    return [name for split in own for name in split.ids]


def _counted(values: Numbers, split: _Split, key: str) -> Numbers:
    """Numbers `(count,)` or `(count, several)`."""
    count = len(split.ids)
    several = values.size // count if count and not values.size % count else 0
    if several > 1 and len(values) == count:
        return values.reshape(count, several)
    return read_numbers({key: values}, key, count, split.where)


def _is_flat(values: Any) -> bool:
    """Whether each sample has one row of numbers; pairs of no and yes are none."""
    wide = [size for size in np.shape(values)[1:] if size > 1]
    return len(wide) == 1


def _as_numbers(values: Any) -> Numbers | None:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _column(values: Numbers, key: str, column: str, where: str) -> Numbers:
    if values.ndim == 1:
        if column not in ("", "0"):
            raise InputError(
                f"{where}: --label {key}:{column}: {key} holds no column {column}, only one."
            )
        return values
    several = values.shape[1]
    if column.isdecimal() and int(column) < several:
        return values[:, int(column)]
    classes = " (columns of 0 and 1 are classes)" if np.isin(values, (0.0, 1.0)).all() else ""
    asked = f"--label {key}:{column}: " if column else ""
    raise InputError(
        f"{where}: {asked}{key} holds {several} columns for each sample, but one label is learned. "
        f"Choose one: --label {key}:0 to {key}:{several - 1}{classes}."
    )
