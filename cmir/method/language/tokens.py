"""Token ids of texts: cut by a model's own tokenizer, or given as ids of BERT's vocabulary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.row_blocks import IntArray
from cmir.errors import InputError
from cmir.method.language.pretrained.backbones import Backbone

# The ids of one text, and which of two sentences each of them belongs to.
IdsAndSegments = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True, eq=False)
class Tokens:
    """Texts as token ids.

    Attributes:
        ids: `(N, T)`, special tokens included, 0 beyond a text's end.
        segments: `(N, T)`, 0 or 1: which of two sentences a token belongs to.
        lengths: tokens of each text, `(N,)`; the mask is True up to there.
        is_cut: `(N,)`, texts that were longer than the model takes.
    """

    ids: npt.NDArray[np.int32]
    segments: npt.NDArray[np.int32]
    lengths: IntArray
    is_cut: npt.NDArray[np.bool_]

    @property
    def cut(self) -> int:
        """Number of texts that were cut."""
        return int(self.is_cut.sum())

    def at(self, rows: IntArray) -> Tokens:
        """Those of some texts, `(n,)`."""
        own = self.ids[rows], self.segments[rows], self.lengths[rows], self.is_cut[rows]
        return Tokens(*own)


def most_tokens(backbone: Backbone, longest: int | None) -> int:
    """Most tokens of a text: what the model takes, or less where that is wanted."""
    return min(longest or backbone.longest, backbone.longest)


def tokens_of_texts(
    texts: Sequence[str],
    backbone: Backbone,
    longest: int | None = None,
    names: Sequence[object] | None = None,
) -> Tokens:
    """Cuts texts into tokens by the model's own tokenizer, special ones added.

    Args:
        texts: of N samples.
        backbone: whose tokens are wanted.
        longest: most tokens of a text, in place of what the model takes.
        names: of the samples in messages; by default their places.

    Raises:
        InputError: a text is empty or has no token, or the model has no tokenizer.
    """
    _refuse([not text.strip() for text in texts], "must not be empty, but is", names)
    limit = most_tokens(backbone, longest)
    whole = backbone.tokenizer(list(texts), verbose=False, return_token_type_ids=True)
    rows: list[IdsAndSegments] = list(zip(whole["input_ids"], whole["token_type_ids"], strict=True))
    is_cut = [len(ids) > limit for ids, _ in rows]
    for index in np.flatnonzero(is_cut).tolist():
        # The tokenizer itself cuts, so that the closing special token stays.
        one = backbone.tokenizer(
            texts[index], truncation=True, max_length=limit, return_token_type_ids=True
        )
        rows[index] = (one["input_ids"], one["token_type_ids"])
    _refuse([not ids for ids, _ in rows], "must hold at least one token, but holds none", names)
    return padded(rows, is_cut)


def tokens_of_ids(
    given: Sequence[IdsAndSegments | str],
    backbone: Backbone,
    longest: int | None = None,
    names: Sequence[object] | None = None,
) -> Tokens:
    """Checks ids of BERT's vocabulary, and cuts those that are longer than the model takes.

    Args:
        given: of N samples, special tokens included; also as JSON texts `[ids, segments]`.
        backbone: whose vocabulary they are of.
        longest: most tokens of a text, in place of what the model takes.
        names: of the samples in messages; by default their places.

    Raises:
        InputError: there is no id, or one that the vocabulary does not have, or no such text.
    """
    rows = [
        _parsed(one, _name(names, place)) if isinstance(one, str) else one
        for place, one in enumerate(given)
    ]
    _refuse(
        [not len(ids) for ids, _ in rows], "must hold at least one token, but holds none", names
    )
    for place, (ids, _) in enumerate(rows):
        if not 0 <= min(ids) <= max(ids) < backbone.vocabulary:
            raise InputError(
                f"sample {_name(names, place)} must hold ids below {backbone.vocabulary}, "
                f"the vocabulary of '{backbone.name}', but holds {max(ids)}. It was made for "
                "another model: use raw_text."
            )
    limit = most_tokens(backbone, longest)
    is_cut = [len(ids) > limit for ids, _ in rows]
    # The closing special token stays.
    held = [([*ids[:limit][:-1], ids[-1]], segments[:limit]) for ids, segments in rows]
    return padded(held, is_cut)


def read_tokens(
    backbone: Backbone, column: str, rows: Sequence[Any], longest: int | None = None
) -> Tokens:
    """The tokens of the sentences of a request.

    Args:
        backbone: whose tokens are wanted.
        column: `raw_text` or `text_bert`.
        rows: a text, or its ids and segments, of each sample.
        longest: most tokens of a text, in place of what the model takes.

    Raises:
        InputError: the model has no tokenizer, or cannot read ids of BERT; or a text is empty.
    """
    if not len(rows):
        return padded([], [])
    try:
        if column == "raw_text":
            return tokens_of_texts(rows, backbone, longest)
        if backbone.family != "bert":
            raise InputError(
                f"they are of BERT's vocabulary, but '{backbone.name}' is of the family "
                f"{backbone.family}: give raw_text"
            )
        return tokens_of_ids(rows, backbone, longest)
    except InputError as error:
        raise InputError(f"{column}: {error}") from None


def padded(rows: Sequence[IdsAndSegments], is_cut: Sequence[bool]) -> Tokens:
    """Rows of different lengths as arrays."""
    lengths = np.array([len(ids) for ids, _ in rows], dtype=np.int64)
    shape = (len(rows), int(lengths.max(initial=1)))
    ids, segments = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for row, (own_ids, own_segments) in enumerate(rows):
        ids[row, : len(own_ids)] = own_ids
        segments[row, : len(own_segments)] = own_segments
    return Tokens(ids, segments, lengths, np.array(is_cut, dtype=bool))


def _refuse(is_wrong: Sequence[bool], what: str, names: Sequence[object] | None) -> None:
    places = np.flatnonzero(is_wrong)
    if len(places):
        shown = ", ".join(_name(names, int(place)) for place in places[:5])
        more = ", ..." if len(places) > 5 else ""
        count = f"{len(places)} {'sample' if len(places) == 1 else 'samples'}"
        raise InputError(f"a text {what} for {count}: {shown}{more}.")


def _name(names: Sequence[object] | None, place: int) -> str:
    return str(place) if names is None else repr(names[place])


def _parsed(text: str, name: str) -> IdsAndSegments:
    try:
        ids, segments = json.loads(text)
        if not isinstance(ids, list) or not isinstance(segments, list):
            raise TypeError
        if len(ids) != len(segments) or not all(isinstance(i, int) for i in [*ids, *segments]):
            raise ValueError
    except (ValueError, TypeError):
        raise InputError(
            f"sample {name} must be the JSON text [ids, segments], two lists of whole numbers of "
            f"one length, but is {text[:40]!r}."
        ) from None
    return ids, segments
