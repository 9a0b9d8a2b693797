"""Padding, told from the content: which steps of a sequence count, wherever the padding lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.formats.inspection.odd_samples import shown
from cmir.data.formats.source import Rows
from cmir.data.row_blocks import BoolArray, IntArray, filled_span, forget, placed, row_blocks

# Zeros at the ends of what counts that shrink a mean by less are no padding worth a word.
SMALL_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Padding:
    """Which steps of N sequences count.

    Attributes:
        starts: `(N,)`, the first step that counts.
        lengths: `(N,)`, how many count from there, at least one.
        absent: `(N,)`, True where none does: the sample is one step of zeros.
        is_known: whether lengths or content say anything; else every step counts.
        notes: what was made of the padding.
        warnings: what of it looks wrong.
    """

    starts: IntArray
    lengths: IntArray
    absent: BoolArray
    is_known: bool
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Placed:
    """Rows `(N, T, D)` whose steps that count begin at step 0, zeros behind them."""

    def __init__(self, rows: Rows, starts: IntArray, lengths: IntArray, absent: BoolArray) -> None:
        self._rows, self._starts = rows, starts
        self._lengths = np.where(absent, 0, lengths)
        self.shape, self.dtype = rows.shape, rows.dtype

    def __getitem__(self, rows: slice, /) -> npt.NDArray[Any]:
        block = placed(self._rows[rows], self._starts[rows], self._lengths[rows])
        forget(self._rows)
        return block


def spans(rows: Rows) -> tuple[IntArray, IntArray]:
    """The first step of each sequence that holds something, and one beyond the last, `(N,)` each.

    A step holds nothing where every feature is 0, NaN or infinite. Of a sequence without any
    step that holds something both are 0.
    """
    begins, ends = np.zeros((2, rows.shape[0]), np.int64)
    for part in row_blocks(rows.shape):
        begins[part], ends[part] = filled_span(rows[part])
        forget(rows)
    return begins, ends


def find_padding(
    name: str,
    given: npt.NDArray[np.float64],
    steps: IntArray,
    span: tuple[IntArray, IntArray],
    ids: Sequence[str],
) -> Padding:
    """Which steps count, by the lengths that are given and by what the steps hold.

    A length counts steps from the first one, or, where content lies beyond it, from where the
    content begins. Where no length is given, or every one is the number of steps although there
    are zeros at the ends, steps count from the first to the last that hold something.

    Args:
        name: of the modality.
        given: `(N,)`, whole numbers from 0; NaN where no length is given.
        steps: `(N,)`, the steps that each sequence has in its own split.
        span: from `spans`.
        ids: `(N,)`.
    """
    begins, ends = span
    is_filled, found = ends > 0, ends - begins
    has_blank_ends = is_filled & (found < steps)
    is_given = ~np.isnan(given)
    if (given[is_given] == steps[is_given]).all() and has_blank_ends.any():
        # Lengths that count every step of padded sequences say nothing.
        is_given = np.zeros(len(given), np.bool_)
    is_known = bool(is_given.any() or has_blank_ends.any() or len(set(steps.tolist())) > 1)
    whole = np.where(is_given, given, 0).astype(np.int64)
    is_long = is_given & (whole > steps)
    whole = np.minimum(whole, steps)
    absent = is_given & (whole == 0)
    is_moved = is_given & (ends > whole) & (found <= whole)
    starts = np.where(is_given, np.where(is_moved, np.minimum(begins, steps - whole), 0), begins)
    by_content = np.where(is_filled, found, 1) if is_known else steps
    lengths = np.where(is_given, np.where(absent, 1, whole), by_content)
    starts = np.where(absent, 0, starts)
    beyond = is_given & (found > whole) & ~absent & ~is_long
    # Features of a language model go on where a text has ended: then all do.
    is_short = is_given & (whole < steps) & is_filled & ~absent
    is_usual = beyond.sum() >= 0.9 * is_short.sum()
    told_beyond = _told(name, beyond, ids, "filled beyond their length, which does not count")
    return Padding(
        starts.astype(np.int64),
        lengths.astype(np.int64),
        absent,
        is_known,
        (
            *_told_content(name, has_blank_ends & ~is_given, steps - found),
            *_told(name, is_moved & (starts > 0), ids, "padded in front: moved to the front"),
            *_told(name, absent, ids, "absent, with a length of 0"),
            *(told_beyond if is_usual else ()),
        ),
        (
            *_told(name, is_long, ids, "longer than their steps: cut to those"),
            *(told_beyond if not is_usual else ()),
        ),
    )


def warn_of_blank_ends(name: str, count: int, blank: int, samples: int) -> tuple[str, ...]:
    """The warning of a data card that the means of a modality shrink, where they do.

    Args:
        name: of the modality.
        count: steps that count, of all samples.
        blank: those of them that hold nothing, at the ends of samples.
        samples: how many samples have such an end.
    """
    if blank <= SMALL_SHARE * count:
        return ()
    return (
        f"{name}: {samples} samples begin or end with steps of zeros that count, "
        f"{blank / count:.0%} of all steps: means shrink by that. If they are padding, the lengths "
        "are wrong",
    )


def _told(name: str, which: BoolArray, ids: Sequence[str], what: str) -> tuple[str, ...]:
    places = np.flatnonzero(which)
    if not len(places):
        return ()
    return (
        f"{name}: {len(places)} of {len(which)} samples are {what}: "
        f"{shown([ids[place] for place in places[:9]])}",
    )


def _told_content(name: str, which: BoolArray, blank: IntArray) -> tuple[str, ...]:
    if not which.any():
        return ()
    return (
        f"{name}: no lengths in the source: steps of zeros before or behind the content of "
        f"{int(which.sum())} of {len(which)} samples, {blank[which].mean():.1f} in the mean, are "
        "taken as padding",
    )
