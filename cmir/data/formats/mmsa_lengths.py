"""The lengths of the field's common layout: as the file gives them, and as its content shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data.formats.inspection.labels import read_numbers
from cmir.data.formats.inspection.odd_samples import shown
from cmir.data.formats.inspection.padding import Padding, Placed, find_padding, spans
from cmir.data.formats.inspection.token_ids import TOKENS
from cmir.data.formats.mmsa_columns import Split, joined
from cmir.data.formats.source import Rows, of_one_length
from cmir.errors import InputError

Ids = Mapping[str, list[str]]


@dataclass(frozen=True, eq=False)
class Measured:
    """One modality whose steps that count begin at step 0.

    Attributes:
        parts: its rows in each split, all with the same number of steps.
        lengths: the column `<modality>_length`; None of vectors, and where every step counts.
        padding: what was found; None of vectors.
    """

    parts: tuple[Rows, ...]
    lengths: pl.Series | None = None
    padding: Padding | None = None


def measured(
    name: str, splits: Mapping[str, Split], ids: Ids, parts: tuple[Rows, ...], where: str
) -> Measured:
    """The modality with its padding behind its content, whichever way the file pads.

    Lengths are those under `<modality>_lengths`; where no split has lengths of `text` they follow
    from the attention mask of `text_bert`, the middle row of `(N, 3, T)`; see `find_padding`.

    Raises:
        InputError: a length is no whole number, or most are 0 or above the number of steps.
    """
    if len(parts[0].shape) == 2:
        return Measured(parts)
    steps = np.repeat([part.shape[1] for part in parts], [part.shape[0] for part in parts])
    given = _given(name, splits, ids, parts, where)
    every = joined(ids)
    _check_given(name, given, steps, every, where)
    found = [spans(part) for part in parts]
    span = np.concatenate([one for one, _ in found]), np.concatenate([end for _, end in found])
    padding = find_padding(name, given, steps, span, every)
    kept = _placed(of_one_length(parts), padding)
    lengths = pl.Series(f"{name}_length", padding.lengths.astype(np.int32))
    return Measured(kept, lengths if padding.is_known else None, padding)


def _given(
    name: str, splits: Mapping[str, Split], ids: Ids, parts: tuple[Rows, ...], where: str
) -> npt.NDArray[np.float64]:
    """Lengths as given, `(N,)`, NaN where there is none."""
    key = f"{name}_lengths"
    if name == "text" and not any(key in split for split in splits.values()):
        masked = [
            _masked_lengths(split, len(ids[own]), part.shape[1])
            for (own, split), part in zip(splits.items(), parts, strict=True)
        ]
        if all(lengths is not None for lengths in masked):
            return np.concatenate([lengths for lengths in masked if lengths is not None])
    return np.concatenate(
        [
            read_numbers(split, key, len(ids[own]), f"{where}: {own}")
            if key in split
            else np.full(len(ids[own]), np.nan)
            for own, split in splits.items()
        ]
    )


def _masked_lengths(split: Split, count: int, steps: int) -> npt.NDArray[np.float64] | None:
    tokens = split.get(TOKENS)
    if not isinstance(tokens, np.ndarray) or tokens.shape != (count, 3, steps):
        return None
    mask = tokens[:, 1, :] == 1
    counted = mask.sum(axis=1)
    # Only a mask that is 1 up to the length and 0 beyond says where a text ends.
    is_prefix = (mask == (np.arange(steps) < counted[:, None])).all() and counted.all()
    if not is_prefix or not np.isin(tokens[:, 1, :], (0, 1)).all():
        return None
    lengths: npt.NDArray[np.float64] = counted.astype(np.float64)
    return lengths


def _check_given(
    name: str,
    given: npt.NDArray[np.float64],
    steps: npt.NDArray[np.int64],
    ids: list[str],
    where: str,
) -> None:
    is_given = ~np.isnan(given)
    broken = is_given & ((given != np.round(given)) | (given < 0))
    odd = is_given & ((given == 0) | (given > steps))
    # Some samples of length 0 are absent, some that are too long were cut; most are a wrong key.
    wrong = broken | (odd if 2 * odd.sum() > is_given.sum() else broken)
    if wrong.any():
        places = np.flatnonzero(wrong)
        raise InputError(
            f"{where}: {name}_lengths must be whole numbers from 1 to {steps.max()}, the steps of "
            f"{name}, but got {given[wrong][0]:g} ({len(places)} of {len(given)} samples: "
            f"{shown([ids[place] for place in places[:9]])}). Correct them, or remove the key: "
            "lengths are then told from the features."
        )


def _placed(parts: tuple[Rows, ...], padding: Padding) -> tuple[Rows, ...]:
    """The parts, moved to the front where that changes anything."""
    kept: list[Rows] = []
    row = 0
    for part in parts:
        own = slice(row, row + part.shape[0])
        row = own.stop
        starts, lengths, absent = padding.starts[own], padding.lengths[own], padding.absent[own]
        is_changed = starts.any() or absent.any()
        kept.append(Placed(part, starts, lengths, absent) if is_changed else part)
    return tuple(kept)
