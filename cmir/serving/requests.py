"""What a served model is asked with: raw features checked against the sizes it was trained on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.row_blocks import filled_span, placed
from cmir.errors import InputError, nearest

LENGTHS = "_lengths"
# The parameter of a request that asks for the distances to training too.
DISTANCES = "distances"

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Expected:
    """The shape of one modality: `size` features D, as a sequence of steps or as one vector."""

    size: int
    is_sequence: bool

    @property
    def batch_rank(self) -> int:
        """Axes of a batch: 3 of a sequence, 2 of vectors."""
        return 3 if self.is_sequence else 2

    def zeros(self, count: int) -> Array:
        """What stands in the place of `count` samples that did not come; one step of a sequence."""
        steps = (1,) if self.is_sequence else ()
        return np.zeros((count, *steps, self.size), dtype=np.float32)

    @property
    def shapes(self) -> str:
        """The allowed shapes in words."""
        many, one = ("(N, T, {})", "(T, {})") if self.is_sequence else ("(N, {})", "({},)")
        return f"{many.format(self.size)}, or {one.format(self.size)} for one sample"


@dataclass(frozen=True)
class Request:
    """A checked batch of n samples.

    Attributes:
        count: n.
        values: `(n, T, D)` or `(n, D)` by modality, raw as in the data file, finite.
        lengths: valid steps `(n,)` of each sequence.
        missing: modalities that did not come and may be left out; their values are zeros.
    """

    count: int
    values: Mapping[str, Array]
    lengths: Mapping[str, npt.NDArray[np.int64]]
    missing: frozenset[str] = frozenset()


def read_request(
    data: Any, expected: Mapping[str, Expected], optional: Collection[str] = ()
) -> Request:
    """Checks a dict of arrays, or a table with one sample a row.

    Args:
        data: `<modality>` of shape `(N, T, D)` or `(N, D)`, or one sample without N: arrays of
            any number type, or nested lists. `<modality>_lengths`, `(N,)` or one number, says how
            many steps of a sequence are valid. Without it steps count from the first to the last
            that hold something, as in data that is prepared: padding with zeros changes nothing,
            in front or behind.
        expected: what the model was trained on.
        optional: modalities that may be left out, of all samples of the request and not of all
            modalities.

    Raises:
        InputError: unknown or missing modality, wrong shape, no numbers, NaN or infinity; the
            message names the modality, what is required and what came.
    """
    given = _as_mapping(data, expected)
    missing = _missing(given, expected, optional)
    came = {name: shape for name, shape in expected.items() if name not in missing}
    arrays = {name: _array(name, given[name], shape) for name, shape in came.items()}
    singles = {name for name, shape in came.items() if arrays[name].ndim < shape.batch_rank}
    if singles and len(singles) < len(arrays):
        raise InputError(
            f"{', '.join(sorted(singles))} came as one sample, but "
            f"{', '.join(sorted(set(arrays) - singles))} as a batch: give all with the axis N, or "
            "all without."
        )
    values = {name: array[None] if singles else array for name, array in arrays.items()}
    count = _count(values)
    values |= {name: expected[name].zeros(count) for name in missing}
    lengths = {}
    for name, shape in expected.items():
        if shape.is_sequence:
            said = _lengths(name, given.get(f"{name}{LENGTHS}"), count, values[name].shape[1])
            values[name], lengths[name] = _without_padding(values[name], said)
    return Request(count, values, lengths, missing)


def _as_mapping(data: Any, expected: Mapping[str, Expected]) -> dict[str, Any]:
    if isinstance(data, Mapping):
        return dict(data)
    if hasattr(data, "columns"):
        return {str(name): _cells(data[name]) for name in data.columns}
    raise InputError(
        f"a request must be a dict with {', '.join(expected)}, or a table with these columns, but "
        f"got {type(data).__name__}."
    )


def _cells(column: Any) -> Any:
    """A column of a table: the only cell, or one sample per cell."""
    cells = list(column)
    return cells[0] if len(cells) == 1 else cells


def _missing(
    given: Mapping[str, Any], expected: Mapping[str, Expected], optional: Collection[str]
) -> frozenset[str]:
    """Checks the names; returns the modalities that are left out and may be."""
    sequences = [name for name, shape in expected.items() if shape.is_sequence]
    known = [*expected, *(f"{name}{LENGTHS}" for name in sequences)]
    for name in given:
        if name not in known:
            raise InputError(f"'{name}' is no input of this model.{nearest(str(name), known)}")
    missing = frozenset(name for name in expected if given.get(name) is None)
    for name, shape in expected.items():
        if name in missing and (name not in optional or len(missing) == len(expected)):
            came = [key for key in given if given[key] is not None]
            raise InputError(
                f"{name}: is required, of shape {shape.shapes}, but only "
                f"{', '.join(came) or 'nothing'} came.{_may_miss(optional)}"
            )
    for name in missing:
        if given.get(f"{name}{LENGTHS}") is not None:
            raise InputError(f"{name}{LENGTHS}: came without {name}. Leave both out, or give both.")
    return missing


def _may_miss(optional: Collection[str]) -> str:
    if not optional:
        return ""
    return f" Only {' and '.join(sorted(optional))} may be left out, and not every modality."


def _array(name: str, value: Any, shape: Expected) -> Array:
    try:
        raw = np.asarray(value)
    except ValueError:
        raise InputError(
            f"{name}: must be of shape {shape.shapes}, but its rows differ in length. Pad them "
            f"with zeros{f' and give {name}{LENGTHS}' if shape.is_sequence else ''}."
        ) from None
    if raw.dtype.kind not in "fiu":
        raise InputError(f"{name}: must hold numbers, but holds {raw.dtype}.")
    has_rank = raw.ndim in (shape.batch_rank, shape.batch_rank - 1)
    if not has_rank or raw.shape[-1] != shape.size or (shape.is_sequence and raw.shape[-2] == 0):
        raise InputError(f"{name}: must be of shape {shape.shapes}, but has shape {raw.shape}.")
    with np.errstate(over="ignore"):
        array = np.array(raw, dtype=np.float32)
    if not np.isfinite(array).all():
        place = [int(index) for index in np.argwhere(~np.isfinite(array))[0]]
        raise InputError(
            f"{name}: must hold finite numbers, but holds {array[tuple(place)]} at {place}. "
            "Replace it as in training: prepare.py writes 0."
        )
    return array


def _count(values: Mapping[str, Array]) -> int:
    counts = {name: len(array) for name, array in values.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"all modalities must have the same number N of samples, but got {told}.")
    return next(iter(counts.values()))


def _without_padding(
    values: Array, said: npt.NDArray[np.int64] | None
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Each sequence with its valid steps from step 0 on, and how many these are.

    A length counts from the first step, or, where content lies beyond it, from where that begins:
    then the sequence is padded in front.
    """
    begins, ends = filled_span(values)
    if said is None:
        starts, lengths = begins, np.maximum(ends - begins, 1)
    else:
        in_front = (ends > said) & (ends - begins <= said)
        starts = np.where(in_front, np.minimum(begins, values.shape[1] - said), 0)
        lengths = said
    return (np.asarray(placed(values, starts, lengths)) if starts.any() else values), lengths


def _lengths(name: str, value: Any, count: int, steps: int) -> npt.NDArray[np.int64] | None:
    if value is None:
        return None
    raw = np.asarray(value)
    fits = raw.dtype.kind in "fiu" and raw.shape in ((), (count,))
    if not fits or not ((raw >= 1) & (raw <= steps) & (raw == np.floor(raw))).all():
        raise InputError(
            f"{name}{LENGTHS}: must be {count} whole numbers, or one for all samples, from 1 to "
            f"{steps}, the steps of {name}, but got {raw.tolist()!s:.200}."
        )
    return np.broadcast_to(raw.astype(np.int64), (count,)).copy()
