"""What a feature file holds: its samples, and rows of features that need not be in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data.row_blocks import FloatArray, IntArray, forget, row_blocks
from cmir.data.task import Task


class Rows(Protocol):
    """What a modality of a source must offer: an array, or something that makes rows on demand.

    A slice gives a floating-point array `(rows, T, D)` or `(rows, D)`.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """`(N, T, D)` or `(N, D)`."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what a slice gives."""
        ...

    def __getitem__(self, rows: slice, /) -> npt.NDArray[Any]: ...


@dataclass(frozen=True, eq=False)
class Source:
    """What a feature file holds, before out-of-distribution splits are made.

    Attributes:
        samples: columns `id`, `split`, `label`, then lengths, further labels, environments and
            text, N rows.
        parts: for each modality its arrays of the splits, in the order of the rows.
        task: what is learned.
        left_out: keys of the file that did not become part of the dataset.
        notes: what a reader of the data card should know.
        split_names: names of the splits in the file.
        warnings: what in the file may be wrong, with counts.
    """

    samples: pl.DataFrame
    parts: Mapping[str, tuple[Rows, ...]]
    task: Task
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    split_names: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def blocks(self, modality: str) -> Iterator[FloatArray]:
        """The features of one modality, some rows at a time: float16 or float32."""
        return float_blocks(self.parts[modality])


class Ragged:
    """Sequences `(t_i, D)` of different lengths as rows `(N, T, D)`, zero beyond their length.

    Args:
        sequences: N arrays; one without a step counts as one step of zeros.
        steps: T; by default the longest. Of a longer sequence the last T steps are kept.
        absent: by reason, the ids of samples that are absent, for the data card.

    >>> rows = Ragged([np.ones((1, 2), np.float32), np.ones((3, 2), np.float32)])
    >>> rows.shape, rows.lengths.tolist(), rows[0:1].tolist()
    ((2, 3, 2), [1, 3], [[[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]])
    """

    def __init__(
        self,
        sequences: Sequence[FloatArray],
        steps: int | None = None,
        absent: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._sequences, self.absent = sequences, absent or {}
        shapes = [(s.shape, s.dtype) for s in sequences]
        lengths = np.array([shape[0] for shape, _ in shapes], np.int64)
        filled = [(shape, dtype) for shape, dtype in shapes if shape[0]]
        steps = steps or int(lengths.max(initial=1))
        self.lengths: IntArray = lengths.clip(1, steps)
        self.sizes = sorted({shape[-1] for shape, _ in filled})
        self.shape = (len(sequences), steps, self.sizes[0] if self.sizes else 0)
        halves = bool(filled) and all(dtype == np.float16 for _, dtype in filled)
        self.dtype: np.dtype[Any] = np.dtype(np.float16 if halves else np.float32)

    def padded_to(self, steps: int) -> Ragged:
        """The same sequences as rows of `steps` steps."""
        return self if steps == self.shape[1] else Ragged(self._sequences, steps, self.absent)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice, /) -> npt.NDArray[Any]:
        block = np.zeros((len(range(*rows.indices(len(self)))), *self.shape[1:]), self.dtype)
        longest: FloatArray | None = None
        with np.errstate(over="ignore"):
            for place, sequence in zip(block, self._sequences[rows], strict=True):
                if len(sequence):
                    kept = sequence[-self.shape[1] :]
                    place[: len(kept)] = kept
                longest = sequence if longest is None or len(sequence) > len(longest) else longest
        # All mapped sequences of a file share one map: a long one is in it if any is.
        forget(longest)
        return block


class Made(Sequence[FloatArray]):
    """Arrays made when asked for: item i is `make(i)`, for i below `count`."""

    def __init__(self, count: int, make: Callable[[int], FloatArray]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int, /) -> FloatArray: ...
    @overload
    def __getitem__(self, place: slice, /) -> Made: ...
    def __getitem__(self, place: int | slice, /) -> FloatArray | Made:
        if isinstance(place, int):
            # What `for` stops at.
            if not 0 <= place < self._count:
                raise IndexError(place)
            return self._make(place)
        chosen = range(*place.indices(self._count))
        return Made(len(chosen), lambda i: self._make(chosen[i]))


class Lengthened:
    """Sequences of an array as rows `(N, T, D)` of more steps, zero beyond their own."""

    def __init__(self, rows: Rows, steps: int) -> None:
        self._rows = rows
        self.shape = (rows.shape[0], steps, rows.shape[2])
        self.dtype = rows.dtype

    def __getitem__(self, rows: slice, /) -> npt.NDArray[Any]:
        block = self._rows[rows]
        return np.pad(block, ((0, 0), (0, self.shape[1] - block.shape[1]), (0, 0)))


def of_one_length(parts: Sequence[Rows]) -> tuple[Rows, ...]:
    """Parts `(N, T, D)` padded behind to the steps of the longest; vectors as they are."""
    if len(parts[0].shape) == 2:
        return tuple(parts)
    longest = max(part.shape[1] for part in parts)
    return tuple(_lengthened(part, longest) for part in parts)


def _lengthened(rows: Rows, steps: int) -> Rows:
    if rows.shape[1] == steps:
        return rows
    return rows.padded_to(steps) if isinstance(rows, Ragged) else Lengthened(rows, steps)


class Chosen:
    """Some rows of an array, in an order of their own, read when asked for."""

    def __init__(self, array: Rows, rows: IntArray) -> None:
        self._array: Any = array
        self._rows = rows
        self.shape = (len(rows), *array.shape[1:])
        self.dtype = array.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice, /) -> npt.NDArray[Any]:
        block: npt.NDArray[Any] = self._array[self._rows[rows]]
        forget(self._array)
        return block


def float_blocks(parts: Sequence[Rows]) -> Iterator[FloatArray]:
    """Parts that follow each other along the rows, some rows at a time.

    float16 if all parts are, else float32; a value too large for that becomes infinite.
    Mapped pages are given back as soon as they were copied.
    """
    halves = all(part.dtype == np.float16 for part in parts)
    for part in parts:
        for rows in row_blocks(part.shape):
            with np.errstate(over="ignore"):
                # A copy: what is mapped may lie at odd addresses, and is to be forgotten.
                block: FloatArray = np.array(part[rows], np.float16 if halves else np.float32)
            forget(part)
            yield block
