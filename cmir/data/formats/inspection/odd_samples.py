"""Lists of arrays, one for each sample: what is none of them is absent, counted and named by id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.formats.source import Made
from cmir.errors import InputError

# More than one odd sample in four is no oddity, but another layout.
MOST_ODD = 0.25
SHOWN = 5

EMPTY = "nothing in their place"
ODD_SIZE = "another number of features"
ODD_KIND = "no array of numbers"

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class TidyList:
    """N arrays `(t_i, D)`, those that are absent without a step.

    Attributes:
        sequences: the arrays.
        absent: by reason, the ids of the samples that are absent.
    """

    sequences: Sequence[npt.NDArray[Any]]
    absent: Mapping[str, tuple[str, ...]]


def tidy_list(items: Sequence[Any], ids: Sequence[str], where: str) -> TidyList | None:
    """A list of arrays `(t_i, D)`, or of vectors `(D,)` as single steps; None for another list.

    None, NaN, an empty array and zeros of another size, as extractors write them where they found
    nothing, are absent. So are few samples that hold something else.

    Args:
        items: one for each sample.
        ids: likewise; where they are more or fewer, samples are named by their row.
        where: the file and the key named in messages.

    Raises:
        InputError: samples differ in their number of features, too many for an oddity.
    """
    shapes = [_shape(item) for item in items]
    arrays = [shape for shape in shapes if isinstance(shape, tuple)]
    if not arrays:
        return None
    if len(ids) != len(items):
        ids = [f"row {place}" for place in range(len(items))]
    rank = Counter(map(len, arrays)).most_common(1)[0][0]
    size = Counter(s[-1] for s in arrays if len(s) == rank).most_common(1)[0][0]
    reasons = [_reason(items, place, shape, size) for place, shape in enumerate(shapes)]
    odd = [place for place, reason in enumerate(reasons) if reason in (ODD_SIZE, ODD_KIND)]
    if len(odd) > MOST_ODD * len(arrays):
        if rank == 1 or any(reasons[place] == ODD_KIND for place in odd):
            return None
        sizes = sorted({shape[-1] for shape in arrays})
        raise InputError(
            f"{where}: every sample must have the same number of features, but there are "
            f"{', '.join(map(str, sizes))}, in {len(odd)} of {len(items)} samples, such as "
            f"{shown([ids[place] for place in odd])}. Leave the odd samples out."
        )
    absent = {
        reason: tuple(ids[place] for place, found in enumerate(reasons) if found == reason)
        for reason in (EMPTY, ODD_SIZE, ODD_KIND)
    }
    nothing = np.empty((0, size), np.float32)
    made = Made(
        len(items),
        lambda place: nothing if reasons[place] else np.atleast_2d(np.asarray(items[place])),
    )
    return TidyList(made, {reason: own for reason, own in absent.items() if own})


def shown(ids: Sequence[str]) -> str:
    """The first ids of a list, for a message.

    >>> shown(["a", "b"])
    "'a', 'b'"
    """
    return ", ".join(repr(value) for value in ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")


def told_absent(name: str, absent: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """What a data card says of the samples that are absent in one modality."""
    return tuple(
        f"{name}: {len(ids)} {'sample is' if len(ids) == 1 else 'samples are'} absent, with "
        f"{reason}: {shown(ids)}"
        for reason, ids in absent.items()
    )


def _shape(item: Any) -> Shape | str:
    """The shape of an array of numbers, or why it is none."""
    if item is None or (isinstance(item, float) and np.isnan(item)):
        return EMPTY
    if isinstance(item, list | tuple) and not item:
        return EMPTY
    if not isinstance(item, np.ndarray):
        return ODD_KIND
    if not item.size:
        return EMPTY
    is_plain = item.dtype.kind in "fiu" and item.ndim in (1, 2)
    return item.shape if is_plain else ODD_KIND


def _reason(items: Sequence[Any], place: int, shape: Shape | str, size: int) -> str | None:
    if isinstance(shape, str):
        return shape
    if shape[-1] == size:
        return None
    return ODD_SIZE if np.any(items[place]) else EMPTY
