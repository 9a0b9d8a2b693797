"""Token ids of a data set's texts, from `raw_text` or from `text_bert`, ids of BERT."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data import DevelopmentData, HeldoutData
from cmir.data.label_checks import named
from cmir.errors import InputError
from cmir.method.language.pretrained.backbones import Backbone
from cmir.method.language.tokens import Tokens, tokens_of_ids, tokens_of_texts

TextColumn = Literal["raw_text", "text_bert"]
TEXT_COLUMNS: tuple[TextColumn, ...] = ("raw_text", "text_bert")


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
    missing = samples.filter(pl.col(column).is_null())
    if missing.height:
        raise InputError(f"{where}: {column} must not be empty, but is for {named(missing['id'])}.")
    texts, names = samples[column].to_list(), samples["id"].to_list()
    try:
        if column == "raw_text":
            return tokens_of_texts(texts, backbone, longest, names)
        return tokens_of_ids(texts, backbone, longest, names)
    except InputError as error:
        raise InputError(f"{where}: {column}: {error}") from None


def split_tokens(data: DevelopmentData | HeldoutData, backbone: Backbone) -> Tokens:
    """The token ids of the splits, at their rows; other rows have none.

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

    return Tokens(*(placed(v) for v in (found.ids, found.segments, found.lengths, found.is_cut)))
