"""What a served model is asked with: raw features checked against the sizes it was trained on,
and sentences where it has a language model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cmir.data.row_blocks import filled_span, placed
from cmir.errors import InputError, nearest
from cmir.serving.sentences import (
    RAW_TEXT,
    SENTENCES,
    Sentences,
    TextEmbedder,
    TextReader,
    sentences_of,
)

if TYPE_CHECKING:  # Versions without a language model do not ship it.
    from cmir.method.language.text_features import ReadTexts

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
        texts: what language models make of the sentences, by modality.
        cut: `(n,)`, sentences that were longer than the model takes; None where none came.
    """

    count: int
    values: Mapping[str, Array]
    lengths: Mapping[str, npt.NDArray[np.int64]]
    missing: frozenset[str] = frozenset()
    texts: Mapping[str, ReadTexts] = field(default_factory=dict)
    cut: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Accepted:
    """What a model may be asked with.

    Attributes:
        arrays: shapes of the modalities that come as features.
        readers: language models that read sentences in place of a modality.
        embedders: language models by which sentences become features of a modality.
        optional: modalities that may be left out, of all samples of the request and not of all
            modalities.
        absent: modalities whose features came of a language model that is not carried, and its
            name.
    """

    arrays: Mapping[str, Expected]
    readers: Mapping[str, TextReader] = field(default_factory=dict)
    embedders: Mapping[str, TextEmbedder] = field(default_factory=dict)
    optional: Collection[str] = ()
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def takes_sentences(self) -> bool:
        """Whether there is a language model."""
        return bool(self.readers or self.embedders)

    @property
    def modalities(self) -> tuple[str, ...]:
        """All modalities, those that are sentences first."""
        return (*self.readers, *self.arrays)

    @property
    def names(self) -> list[str]:
        """Names that a request may have."""
        sequences = [name for name, shape in self.arrays.items() if shape.is_sequence]
        sentences = SENTENCES if self.takes_sentences else ()
        return [*self.arrays, *(f"{name}{LENGTHS}" for name in sequences), *sentences]


def read_request(data: Any, accepted: Accepted) -> Request:
    """Checks a dict of arrays, or a table with one sample a row.

    Args:
        data: `<modality>` of shape `(N, T, D)` or `(N, D)`, or one sample without N: arrays of
            any number type, or nested lists. Vectors may come as sequences of one step, `(N, 1, D)`
            or `(1, D)`, as data files have them. `<modality>_lengths`, `(N,)` or one number, says
            how many steps of a sequence are valid. Without it steps count from the first to the
            last that hold something, as in data that is prepared: padding with zeros changes
            nothing, in front or behind. With a language model `raw_text`, N sentences or one, or
            `text_bert`, ids `(N, 3, T)` as MMSA has them; where it needs nothing else, the
            sentences alone will do.
        accepted: what the model may be asked with.

    Raises:
        InputError: unknown or missing modality, wrong shape, no numbers, NaN or infinity, or no
            sentence; the message names the modality, what is required and what came.
    """
    given = _as_mapping(data, accepted)
    _check_names(given, accepted)
    sentences = sentences_of(given)
    cut = None
    if sentences is not None:
        embedded, cut = _embedded(given, sentences, accepted)
        given |= embedded
    missing = _missing(given, sentences, accepted)
    arrays = {
        name: _array(name, given[name], shape)
        for name, shape in accepted.arrays.items()
        if name not in missing
    }
    values = _batches(arrays, sentences, accepted)
    counts = {name: len(array) for name, array in values.items()}
    if sentences is not None:
        counts[sentences.column] = len(sentences.rows)
    count = _count(counts)
    expected = accepted.arrays
    values |= {name: expected[name].zeros(count) for name in missing if name in expected}
    lengths = {}
    for name, shape in expected.items():
        if shape.is_sequence:
            said = _lengths(name, given.get(f"{name}{LENGTHS}"), count, values[name].shape[1])
            values[name], lengths[name] = _without_padding(values[name], said)
    texts = {}
    if sentences is not None and accepted.readers:
        read = {
            n: one.read(sentences.column, sentences.rows) for n, one in accepted.readers.items()
        }
        texts, cut = read, np.any([one.is_cut for one in read.values()], axis=0)
    return Request(count, values, lengths, missing, texts, cut)


def _as_mapping(data: Any, accepted: Accepted) -> dict[str, Any]:
    if isinstance(data, Mapping):
        return dict(data)
    if hasattr(data, "columns"):
        return {str(name): _cells(data[name]) for name in data.columns}
    if accepted.takes_sentences and _is_sentences(data):
        return {RAW_TEXT: data}
    raise InputError(
        f"a request must be a dict with {', '.join(accepted.names)}, or a table with these "
        f"columns, but got {type(data).__name__}."
    )


def _is_sentences(data: Any) -> bool:
    if isinstance(data, np.ndarray):
        return data.dtype.kind in "UO"
    is_list = isinstance(data, list | tuple) and all(isinstance(one, str) for one in data)
    return isinstance(data, str) or is_list


def _check_names(given: Mapping[str, Any], accepted: Accepted) -> None:
    for name in given:
        if name in accepted.names:
            continue
        told = _why_unknown(str(name), accepted)
        raise InputError(told or f"'{name}' is no input of this model.{_nearest(name, accepted)}")


def _nearest(name: object, accepted: Accepted) -> str:
    return nearest(str(name), accepted.names)


def _why_unknown(name: str, accepted: Accepted) -> str:
    modality = name.removesuffix(LENGTHS)
    if modality in accepted.readers:
        return (
            f"{name}: this model reads the sentences itself, by the language model that was "
            f"trained with it: give {RAW_TEXT} in place of features."
        )
    if name in SENTENCES and accepted.absent:
        lost, model = next(iter(accepted.absent.items()))
        return (
            f"{name}: the features of {lost} came from {model}, whose weights this version does "
            f"not carry: give {lost} of shape {accepted.arrays[lost].shapes}."
        )
    if name in SENTENCES:
        return (
            f"{name}: this model was trained on features of every modality, and has no language "
            f"model that makes them of sentences: give {', '.join(accepted.arrays)}."
        )
    return ""


def _embedded(
    given: Mapping[str, Any], sentences: Sentences, accepted: Accepted
) -> tuple[dict[str, Any], npt.NDArray[np.bool_] | None]:
    """The features that sentences stand for, and which of these were cut."""
    found: dict[str, Any] = {}
    flags = None
    for name, model in accepted.embedders.items():
        if given.get(name) is not None:
            raise InputError(f"{name} and {sentences.column} both came: give one of them.")
        vectors, lengths, flags = model.embedded(sentences.column, sentences.rows)
        found[name] = vectors[0] if sentences.is_single else vectors
        found[f"{name}{LENGTHS}"] = lengths
    return found, flags


def _batches(
    arrays: Mapping[str, Array], sentences: Sentences | None, accepted: Accepted
) -> dict[str, Array]:
    """All modalities with the axis N, which they have or lack together; one sample may have it."""
    singles = {n for n, array in arrays.items() if array.ndim < accepted.arrays[n].batch_rank}
    many = {name for name in set(arrays) - singles if len(arrays[name]) != 1}
    if sentences is not None and accepted.readers:
        if sentences.is_single:
            singles.add(sentences.column)
        elif len(sentences.rows) != 1:
            many.add(sentences.column)
    if singles and many:
        raise InputError(
            f"{', '.join(sorted(singles))} came as one sample, but "
            f"{', '.join(sorted(many))} as a batch: give all with the axis N, or all without."
        )
    return {name: array[None] if name in singles else array for name, array in arrays.items()}


def _cells(column: Any) -> Any:
    """A column of a table: the only cell, or one sample per cell."""
    cells = list(column)
    return cells[0] if len(cells) == 1 else cells


def _missing(
    given: Mapping[str, Any], sentences: Sentences | None, accepted: Accepted
) -> frozenset[str]:
    """The modalities that are left out, and may be."""
    missing = frozenset(name for name in accepted.arrays if given.get(name) is None)
    if sentences is None:
        missing |= frozenset(accepted.readers)
    optional, every = accepted.optional, accepted.modalities
    for name in every:
        if name in missing and (name not in optional or len(missing) == len(every)):
            came = [key for key in given if given[key] is not None]
            raise InputError(
                f"{_wanted(name, accepted)}, but only {', '.join(came) or 'nothing'} "
                f"came.{_may_miss(optional)}"
            )
    for name in missing:
        if given.get(f"{name}{LENGTHS}") is not None:
            raise InputError(f"{name}{LENGTHS}: came without {name}. Leave both out, or give both.")
    return missing


def _wanted(name: str, accepted: Accepted) -> str:
    if name in accepted.readers:
        return f"{RAW_TEXT}: is required, a sentence for each sample, which is read as {name}"
    instead = f", or {RAW_TEXT} in its place" if name in accepted.embedders else ""
    return f"{name}: is required, of shape {accepted.arrays[name].shapes}{instead}"


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
    if not shape.is_sequence and raw.ndim == 3 and raw.shape[1] == 1:
        raw = raw[:, 0]
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


def _count(counts: Mapping[str, int]) -> int:
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
