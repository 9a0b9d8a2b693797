"""Token ids of a data set's texts, from `raw_text` or from `text_bert`, ids of BERT."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data import DevelopmentData
from cmir.data.row_blocks import IntArray
from cmir.data.samples import named
from cmir.errors import InputError
from cmir.method.language.backbones import Backbone

TextColumn = Literal["raw_text", "text_bert"]
TEXT_COLUMNS: tuple[TextColumn, ...] = ("raw_text", "text_bert")


@dataclass(frozen=True, eq=False)
class Tokens:
    """Texts as token ids.

    Attributes:
        ids: `(N, T)`, special tokens included, 0 beyond a text's end.
        segments: `(N, T)`, 0 or 1: which of two sentences a token belongs to.
        lengths: tokens of each text, `(N,)`; the mask is True up to there.
        cut: number of texts that were longer than the model takes.
    """

    ids: npt.NDArray[np.int32]
    segments: npt.NDArray[np.int32]
    lengths: IntArray
    cut: int = 0


def text_column(
    samples: pl.DataFrame, wanted: str | None, backbone: Backbone, where: str
) -> TextColumn:
    """The column to read: the wanted one, else `raw_text` before `text_bert`.

    Raises:
        InputError: there is no such column, the message says which there are; it is `raw_text`
            and the model has no tokenizer; it is `text_bert`, ids of BERT's vocabulary, and the
            model is of another family.
    """
    known = TEXT_COLUMNS if wanted is None else (wanted,)
    found = next((name for name in known if name in samples.columns), None)
    if found is None:
        raise InputError(
            f"{where}: a language model needs the column {' or '.join(known)}, but there are "
            f"{', '.join(samples.columns)}. `prepare.py` keeps them where the feature file has "
            "them; else write raw_text (text) into samples.parquet."
        )
    if found == "raw_text":
        backbone.check_tokenizer()
    elif backbone.family != "bert":
        raise InputError(
            f"{where}: text_bert holds ids of BERT's vocabulary, but '{backbone.name}' is of the "
            f"family {backbone.family}, which needs raw_text."
        )
    return cast(TextColumn, found)


def tokens_of(
    samples: pl.DataFrame,
    column: TextColumn,
    backbone: Backbone,
    where: str,
    longest: int | None = None,
) -> Tokens:
    """The token ids of every row of a table.

    Args:
        samples: has the column.
        column: `raw_text`, cut into tokens by the model's own tokenizer, special ones added; or
            `text_bert`, a JSON text `[ids, segments]`; see `text_column`.
        backbone: whose tokens are wanted.
        where: the file named in messages.
        longest: most tokens of a text, in place of what the model takes.

    Raises:
        InputError: a text is missing or has no token, or ids are not of the model's vocabulary.
    """
    limit = min(longest or backbone.longest, backbone.longest)
    missing = samples.filter(pl.col(column).is_null())
    if missing.height:
        raise InputError(f"{where}: {column} must not be empty, but is for {named(missing['id'])}.")
    if column == "raw_text":
        rows, cut = _tokenised(samples["raw_text"].to_list(), backbone, limit)
    else:
        rows, cut = _given(samples, backbone, limit, where)
    empty = [not ids for ids, _ in rows]
    if any(empty):
        raise InputError(
            f"{where}: {column} must hold at least one token, but holds none for "
            f"{named(samples['id'].filter(pl.Series(empty)))}."
        )
    return _padded(rows, cut)


def development_tokens(data: DevelopmentData, backbone: Backbone) -> Tokens:
    """The token ids of the development splits, at their rows; held-out rows have none.

    Raises:
        InputError: see `text_column` and `tokens_of`.
    """
    where, splits = f"'{data.name}'", list(data.splits.values())
    table = pl.concat([split.samples for split in splits])
    column = text_column(table, None, backbone, where)
    found = tokens_of(table, column, backbone, where)
    rows = np.concatenate([split.rows for split in splits])
    total = len(next(iter(data.modalities.values())).array)

    def placed(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        every = np.zeros((total, *values.shape[1:]), values.dtype)
        every[rows] = values
        return every

    return Tokens(placed(found.ids), placed(found.segments), placed(found.lengths), found.cut)


def texts_to_tokens(texts: Sequence[str], backbone: Backbone, longest: int | None = None) -> Tokens:
    """The token ids of plain texts; see `tokens_of`."""
    samples = pl.DataFrame({"id": [str(i) for i in range(len(texts))], "raw_text": list(texts)})
    return tokens_of(samples, "raw_text", backbone, "texts", longest)


_Row = tuple[Sequence[int], Sequence[int]]


def _tokenised(texts: list[str], backbone: Backbone, limit: int) -> tuple[list[_Row], int]:
    whole = backbone.tokenizer(texts, verbose=False, return_token_type_ids=True)
    rows: list[_Row] = list(zip(whole["input_ids"], whole["token_type_ids"], strict=True))
    long = [index for index, (ids, _) in enumerate(rows) if len(ids) > limit]
    for index in long:
        # The tokenizer itself cuts, so that the closing special token stays.
        one = backbone.tokenizer(
            texts[index], truncation=True, max_length=limit, return_token_type_ids=True
        )
        rows[index] = (one["input_ids"], one["token_type_ids"])
    return rows, len(long)


def _given(
    samples: pl.DataFrame, backbone: Backbone, limit: int, where: str
) -> tuple[list[_Row], int]:
    rows: list[_Row] = []
    cut = 0
    for name, text in zip(samples["id"], samples["text_bert"], strict=True):
        ids, segments = _parsed(text, f"{where}: text_bert of {name!r}")
        if ids and not 0 <= min(ids) <= max(ids) < backbone.vocabulary:
            raise InputError(
                f"{where}: text_bert of {name!r} must hold ids below {backbone.vocabulary}, the "
                f"vocabulary of '{backbone.name}', but holds {max(ids)}. It was made for another "
                "model: use raw_text."
            )
        cut += len(ids) > limit
        if len(ids) > limit:
            ids, segments = [*ids[: limit - 1], ids[-1]], segments[:limit]
        rows.append((ids, segments))
    return rows, cut


def _parsed(text: str, where: str) -> tuple[list[int], list[int]]:
    try:
        ids, segments = json.loads(text)
        if len(ids) != len(segments) or not all(isinstance(i, int) for i in [*ids, *segments]):
            raise ValueError
    except (ValueError, TypeError):
        raise InputError(
            f"{where}: must be the JSON text [ids, segments], two lists of whole numbers of one "
            f"length, but is {text[:40]!r}."
        ) from None
    return ids, segments


def _padded(rows: Sequence[_Row], cut: int) -> Tokens:
    lengths = np.array([len(ids) for ids, _ in rows], dtype=np.int64)
    shape = (len(rows), int(lengths.max(initial=1)))
    ids, segments = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for row, (own_ids, own_segments) in enumerate(rows):
        ids[row, : len(own_ids)] = own_ids
        segments[row, : len(own_segments)] = own_segments
    return Tokens(ids, segments, lengths, cut)
