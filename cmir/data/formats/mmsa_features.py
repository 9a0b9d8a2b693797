"""Features of the field's common layout: what counts as a modality, and as which rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.formats.inspection.odd_samples import tidy_list, told_absent
from cmir.data.formats.inspection.token_ids import check_no_tokens
from cmir.data.formats.mmsa_columns import Split
from cmir.data.formats.source import Chosen, Ragged, Rows
from cmir.data.manifest import check_modality_name
from cmir.errors import InputError

EXPECTED_MODALITIES = frozenset({"text", "audio", "vision"})

_NEVER_FEATURES = re.compile(
    r"id|raw_text|text_bert|annotations|.*_lengths|(regression_|classification_)?labels?(_.*)?"
    r"|([a-z]+_)?(input_ids|token_ids|token_type_ids|segment_ids|attention_mask)"
)


def with_rows(split: Split, ids: Sequence[str], where: str) -> dict[str, Any]:
    """The split with its sequences of different lengths as `Ragged` rows, and their lengths.

    A list or an object array of N arrays `(t_i, D)` becomes rows `(N, T, D)`, with
    `<key>_lengths` where the file has none; one of N arrays `(D,)` becomes vectors; an object
    array of numbers becomes one of floating-point numbers. Samples without an array are absent.

    Raises:
        InputError: sequences that differ in their number of features.
    """
    rows = dict(split)
    for key, value in split.items():
        if _NEVER_FEATURES.fullmatch(key) or not isinstance(value, list | tuple | np.ndarray):
            continue
        found = _as_rows(value, ids, f"{where}: {key}")
        if found is not None:
            rows[key] = found
        if isinstance(found, Ragged) and len(found) == len(ids):
            rows.setdefault(f"{key}_lengths", found.lengths)
    return rows


def _as_rows(value: Any, ids: Sequence[str], where: str) -> Rows | None:
    if isinstance(value, np.ndarray) and value.dtype != object:
        return None
    if isinstance(value, np.ndarray) and value.ndim > 1:
        try:
            return np.asarray(value, np.float32)
        except (TypeError, ValueError):
            return None
    tidy = tidy_list(value, ids, where)
    return None if tidy is None else Ragged(tidy.sequences, absent=tidy.absent)


def told_absent_in(
    splits: Mapping[str, Split], parts: Mapping[str, tuple[Rows, ...]]
) -> tuple[str, ...]:
    """What a data card says of the samples that `with_rows` found absent."""
    notes: list[str] = []
    for name in parts:
        found: dict[str, tuple[str, ...]] = {}
        for split in splits.values():
            rows = split.get(name)
            for reason, ids in (rows.absent if isinstance(rows, Ragged) else {}).items():
                found[reason] = (*found.get(reason, ()), *ids)
        notes += told_absent(name, found)
    return tuple(notes)


def read_modalities(
    splits: Mapping[str, Split], ids: Mapping[str, list[str]], where: str
) -> dict[str, tuple[Rows, ...]]:
    """For each modality its rows in each split, all with the same number of features.

    Every floating-point array `(N, T, D)` or `(N, D)` under a key that is no label, id or length
    is a modality. `(N, 1, D)` becomes vectors.

    Raises:
        InputError: there is none, or the splits do not agree.
    """
    named = {split: _feature_keys(splits[split], len(ids[split])) for split in splits}
    wanted = sorted(named["train"] | {k for k in EXPECTED_MODALITIES if k in splits["train"]})
    if not wanted:
        raise InputError(
            f"{where}: train must hold a modality, a floating-point array of shape (N, T, D) or "
            f"(N, D), but holds none among {', '.join(splits['train'])}."
        )
    found = {}
    for key in wanted:
        check_modality_name(key, where)
        parts = [_features(splits[name], key, len(ids[name]), f"{where}: {name}") for name in ids]
        found[key] = _as_vectors_if_single_step(_check_shapes(parts, list(ids), key, where))
        check_no_tokens(key, found[key], where)
    for split, keys in named.items():
        if keys - set(wanted):
            raise InputError(
                f"{where}: every split must have the same modalities, but {split} also has "
                f"{', '.join(sorted(keys - set(wanted)))}."
            )
    return found


def _is_features(value: object) -> bool:
    if isinstance(value, np.ndarray | Ragged | Chosen):
        return value.dtype.kind == "f" and len(value.shape) in (2, 3)
    return False


def _feature_keys(split: Split, count: int) -> set[str]:
    return {
        key
        for key, value in split.items()
        if _is_features(value) and len(value) == count and not _NEVER_FEATURES.fullmatch(key)
    }


def _features(split: Split, key: str, count: int, where: str) -> Rows:
    value: Any = split.get(key)
    if value is None:
        raise InputError(
            f"{where}: must have the modality {key!r}, as train has, but has not. Leave it out of "
            "every split or add it here."
        )
    if not _is_features(value):
        has_shape = isinstance(value, np.ndarray | Ragged | Chosen)
        kind = f"{value.dtype} {value.shape}" if has_shape else type(value).__name__
        raise InputError(
            f"{where}: {key} must be a floating-point array of shape (N, T, D) or (N, D), but "
            f"is {kind}."
        )
    if len(value) != count:
        raise InputError(
            f"{where}: {key} must have {count} rows, one for each id, but has {len(value)}."
        )
    rows: Rows = value
    return rows


def _check_shapes(parts: list[Rows], names: list[str], key: str, where: str) -> list[Rows]:
    """The parts, which must agree in their number of features; steps may differ."""
    for part, name in zip(parts, names, strict=True):
        if 0 in part.shape:
            raise InputError(
                f"{where}: {key} must hold a feature at least, but has the shape {part.shape} in "
                f"{name}. Leave it out."
            )
        if (len(part.shape), part.shape[-1]) != (len(parts[0].shape), parts[0].shape[-1]):
            raise InputError(
                f"{where}: {key} must have rows of the same number of features in every split, "
                f"but they are {parts[0].shape[1:]} in {names[0]} and {part.shape[1:]} in {name}."
            )
    return parts


def _as_vectors_if_single_step(parts: list[Rows]) -> tuple[Rows, ...]:
    if len(parts[0].shape) < 3 or any(part.shape[1] != 1 for part in parts):
        return tuple(parts)
    return tuple(_first_step(part) for part in parts)


def _first_step(part: Rows) -> npt.NDArray[Any]:
    return part[0 : part.shape[0]][:, 0, :]
