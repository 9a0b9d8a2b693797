"""Passes over the rows of one modality in blocks, so that no large array is ever held twice."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

BLOCK_VALUES = 1 << 22


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cut the rows of an array of this shape into slices of about 4 million values each."""
    values_per_row = max(1, int(np.prod(shape[1:])))
    rows = max(1, BLOCK_VALUES // values_per_row)
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))


def scanned(array: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    """The blocks of a mapped array, each forgotten before the next: rows and values."""
    for rows in row_blocks(array.shape):
        yield rows, array[rows]
        forget(array)


def forget(rows: object) -> None:
    """Drop from memory the pages of a mapped array that were read; they stay in the file.

    Without this a pass over a mapped file counts as memory of this process, all of it.
    """
    while isinstance(rows, np.ndarray | memoryview):
        rows = rows.base if isinstance(rows, np.ndarray) else rows.obj
    if isinstance(rows, mmap.mmap):
        forget_map(rows)


def forget_map(content: mmap.mmap) -> None:
    """As `forget`, for the map itself; nothing where the system cannot."""
    if hasattr(mmap, "MADV_DONTNEED"):
        content.madvise(mmap.MADV_DONTNEED)


def valid_steps(lengths: IntArray, steps: int) -> BoolArray:
    """Mask `(rows, steps)`, True where a step is valid.

    >>> valid_steps(np.array([1, 3]), 3)
    array([[ True, False, False],
           [ True,  True,  True]])
    """
    mask: BoolArray = np.arange(steps)[None, :] < lengths[:, None]
    return mask


def filled_span(block: FloatArray) -> tuple[IntArray, IntArray]:
    """The first step of each row that holds something, and one beyond the last, `(rows,)` each.

    A step holds nothing where every feature is 0, NaN or infinite; both are 0 where no step holds
    anything.

    >>> begins, ends = filled_span(np.array([[[0.0], [2.0], [0.0]], [[0.0], [np.nan], [0.0]]]))
    >>> begins.tolist(), ends.tolist()
    ([1, 0], [2, 0])
    """
    filled = block != 0
    if len(rows_with_nonfinite(block)):
        filled &= np.isfinite(block)
    return span_of(filled.any(axis=2))


def span_of(steps: BoolArray) -> tuple[IntArray, IntArray]:
    """`filled_span` by which steps `(rows, steps)` hold something."""
    is_filled, count = steps.any(axis=1), steps.shape[1]
    begins = np.where(is_filled, steps.argmax(axis=1), 0)
    ends = np.where(is_filled, count - steps[:, ::-1].argmax(axis=1), 0)
    return begins.astype(np.int64), ends.astype(np.int64)


def placed(block: FloatArray, starts: IntArray, lengths: IntArray) -> FloatArray:
    """Rows `(rows, steps, features)`: `lengths` steps from `starts` moved to step 0, then zeros.

    >>> placed(np.array([[[0.0], [2.0], [3.0]]]), np.array([1]), np.array([2])).ravel()
    array([2., 3., 0.])
    """
    moved = np.zeros_like(block)
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        moved[row, :length] = block[row, start : start + length]
    return moved


def pool(block: FloatArray, lengths: IntArray) -> npt.NDArray[np.float32]:
    """Mean over the valid steps: `(rows, steps, features)` -> `(rows, features)` float32.

    Sums run in float64, step by step, so longer padding changes no bit.
    """
    mask = valid_steps(lengths, block.shape[1])[:, :, None]
    total = np.where(mask, block, block.dtype.type(0)).sum(axis=1, dtype=np.float64)
    pooled: npt.NDArray[np.float32] = (total / lengths[:, None]).astype(np.float32)
    return pooled


def pool_all(array: FloatArray, lengths: IntArray) -> npt.NDArray[np.float32]:
    """`pool` over a whole (memory-mapped) array, block by block."""
    pooled = np.empty((array.shape[0], array.shape[2]), np.float32)
    for rows, block in scanned(array):
        pooled[rows] = pool(block, lengths[rows])
    return pooled


def rows_with_nonfinite(block: FloatArray) -> IntArray:
    """Rows of the block that hold NaN or infinity, `(count,)`."""
    # A sum that is finite proves every term finite, and costs a fraction of looking at each.
    with np.errstate(all="ignore"):
        if np.isfinite(block.sum(dtype=np.float32)):
            return np.empty(0, np.int64)
    finite = np.isfinite(block).reshape(len(block), -1).all(axis=1)
    return np.flatnonzero(~finite).astype(np.int64)


class Moments:
    """Mean and standard deviation per feature, of values that arrive in blocks.

    Blocks are merged in float64 by the pairwise update of Chan, Golub and LeVeque (1979).

    >>> moments = Moments(1)
    >>> moments.add(np.array([[1.0], [2.0]]))
    >>> moments.add(np.array([[6.0]]))
    >>> moments.mean, moments.std
    (array([3.], dtype=float32), array([2.1602468], dtype=float32))
    """

    def __init__(self, size: int) -> None:
        """Start with no values of `size` features."""
        self._count = 0
        self._mean = np.zeros(size)
        self._squares = np.zeros(size)

    def add(self, values: FloatArray) -> None:
        """Take in values `(count, features)`."""
        if len(values) == 0:
            return
        block = values.astype(np.float64)
        mean = block.mean(axis=0)
        gap, total = mean - self._mean, self._count + len(block)
        self._squares += ((block - mean) ** 2).sum(axis=0)
        self._squares += gap**2 * (self._count * len(block) / total)
        self._mean += gap * (len(block) / total)
        self._count = total

    @property
    def mean(self) -> npt.NDArray[np.float32]:
        """Mean, `(features,)`."""
        return self._mean.astype(np.float32)

    @property
    def std(self) -> npt.NDArray[np.float32]:
        """Population standard deviation, `(features,)`; 1 for a constant feature."""
        std = np.sqrt(self._squares / max(1, self._count))
        # Rounding leaves a constant feature a spread of about 1e-16 of its value, not zero.
        constant = (std <= 1e-12 * np.abs(self._mean)) | (std.astype(np.float32) == 0)
        return np.where(constant, 1.0, std).astype(np.float32)


def add_valid(moments: Moments, block: FloatArray, lengths: IntArray | None) -> None:
    """Take in the vectors `(rows, features)` or the valid steps of `(rows, steps, features)`."""
    moments.add(block if lengths is None else block[valid_steps(lengths, block.shape[1])])


def moments_of_rows(array: FloatArray, lengths: IntArray | None, rows: IntArray) -> Moments:
    """Moments of the chosen rows of a (memory-mapped) array, valid steps only."""
    moments = Moments(array.shape[-1])
    for part in row_blocks((len(rows), *array.shape[1:])):
        chosen = rows[part]
        add_valid(moments, array[chosen], None if lengths is None else lengths[chosen])
    return moments
