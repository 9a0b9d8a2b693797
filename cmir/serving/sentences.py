"""Sentences in a request, in place of features: raw text, or ids of BERT's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from cmir.errors import InputError

if TYPE_CHECKING:  # Versions without a language model do not ship it.
    from cmir.method.language.text_features import ReadTexts

RAW_TEXT, TEXT_BERT = "raw_text", "text_bert"
SENTENCES = (RAW_TEXT, TEXT_BERT)
# Rows of `text_bert` as MMSA has it: ids, mask, segments.
MMSA_ROWS = 3
# Far more ids than any vocabulary has.
MOST = 2**31

Ids = tuple[Sequence[int], Sequence[int]]
Vectors = npt.NDArray[np.float32]
Lengths = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Sentences:
    """The sentences of n samples.

    Attributes:
        column: `raw_text` or `text_bert`.
        rows: a text, or its ids and segments (also as a JSON text), of each sample.
        is_single: whether they came as one sample, without the axis N.
    """

    column: str
    rows: Sequence[str] | Sequence[Ids]
    is_single: bool


class TextReader(Protocol):
    """A language model that was trained with the network, in place of a modality's features."""

    def read(self, column: str, rows: Sequence[Any]) -> ReadTexts:
        """What it makes of the sentences; raises InputError where it cannot read them."""


class TextEmbedder(Protocol):
    """A frozen language model, whose vectors a network was trained on as features."""

    def embedded(self, column: str, rows: Sequence[Any]) -> tuple[Vectors, Lengths, Flags]:
        """Vectors `(n, T, D)`, tokens `(n,)`, and which sentences were cut; or InputError."""


def sentences_of(given: Mapping[str, Any]) -> Sentences | None:
    """The sentences of a request, None where there are none.

    Raises:
        InputError: both columns came, or they hold no sentences.
    """
    came = [name for name in SENTENCES if given.get(name) is not None]
    if len(came) > 1:
        raise InputError(f"{' and '.join(came)} both came: give one of them.")
    if not came:
        return None
    (column,) = came
    return _texts(given[column]) if column == RAW_TEXT else _ids(given[column])


def _texts(value: Any) -> Sentences:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    is_single = isinstance(value, str)
    rows = [value] if is_single else value
    if not isinstance(rows, list | tuple):
        raise InputError(
            f"{RAW_TEXT}: must be a sentence for each sample, or one for a single sample, but is "
            f"{type(value).__name__}."
        )
    for place, one in enumerate(rows):
        if not isinstance(one, str):
            raise InputError(
                f"{RAW_TEXT}: must hold a sentence for each sample, but holds "
                f"{type(one).__name__} at {place}: {one!s:.60}."
            )
    return Sentences(RAW_TEXT, [str(one) for one in rows], is_single)


def _ids(value: Any) -> Sentences:
    """From MMSA's `(N, 3, T)`, or from the JSON texts `[ids, segments]` of a data set."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, str):
        return Sentences(TEXT_BERT, [value], True)
    if isinstance(value, list | tuple) and value and all(isinstance(one, str) for one in value):
        return Sentences(TEXT_BERT, list(value), False)
    batch = _whole_numbers(value)
    is_single = batch.ndim == MMSA_ROWS - 1
    parts = batch[None] if is_single else batch
    rows = [(ids[mask > 0].tolist(), kinds[mask > 0].tolist()) for ids, mask, kinds in parts]
    return Sentences(TEXT_BERT, rows, is_single)


def _whole_numbers(value: Any) -> Lengths:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0)
    is_number = array.dtype.kind in "iuf" and array.ndim in (2, 3) and array.shape[-2] == MMSA_ROWS
    if not is_number or not _is_whole(array):
        raise InputError(
            f"{TEXT_BERT}: must be whole numbers of shape (N, 3, T) - ids, mask and segments, as "
            f"MMSA has them - or (3, T) for one sample, but has shape {array.shape}."
        )
    found: Lengths = array.astype(np.int64)
    return found


def _is_whole(array: npt.NDArray[Any]) -> bool:
    """Whether all are whole numbers from 0 on; NaN and infinity are none."""
    return bool(((array >= 0) & (array < MOST)).all() and (np.floor(array) == array).all())
