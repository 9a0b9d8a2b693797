from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.method.language.data_tokens import split_tokens, text_column, tokens_of
from cmir.method.language.pretrained.backbones import Backbone, find_backbone
from cmir.method.language.tokens import Tokens, tokens_of_texts
from tests.support.tiny_backbones import SPECIAL

CLS, SEP = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")


@pytest.fixture
def bert(backbones: dict[str, Path]) -> Backbone:
    return find_backbone(str(backbones["bert"]))


def table(*rows: object) -> pl.DataFrame:
    texts = [row if row is None else json.dumps(row) for row in rows]
    return pl.DataFrame(
        {"id": [f"s{i}" for i in range(len(rows))], "text_bert": texts},
        schema={"id": pl.String, "text_bert": pl.String},
    )


def test_text_bert_gives_back_ids_and_segments(bert: Backbone) -> None:
    samples = table([[CLS, 7, SEP, 8, SEP], [0, 0, 0, 1, 1]], [[CLS, SEP], [0, 0]])
    found = tokens_of(samples, "text_bert", bert, "here")
    np.testing.assert_array_equal(found.ids, [[CLS, 7, SEP, 8, SEP], [CLS, SEP, 0, 0, 0]])
    np.testing.assert_array_equal(found.segments, [[0, 0, 0, 1, 1], [0] * 5])
    short = tokens_of(samples, "text_bert", bert, "here", longest=4)
    assert (short.ids[0].tolist(), short.cut) == ([CLS, 7, SEP, SEP], 1)


def test_an_empty_text_is_refused_with_its_sample(bert: Backbone) -> None:
    samples = pl.DataFrame({"id": ["s0", "s1"], "raw_text": ["good", "  "]})
    wanted = r"here: raw_text: a text must not be empty, but is for 1 sample: 's1'"
    with pytest.raises(InputError, match=wanted):
        tokens_of(samples, "raw_text", bert, "here")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([None], "here: text_bert must not be empty, but is for 1 sample: 's0'"),
        ([[[], []]], "must hold at least one token, but holds none for 1 sample: 's0'"),
        ([[[1], [0]], [[30000], [0]]], r"sample 's1' must hold ids below 163, .* but holds 30000"),
        ([[[1, 2], [0]]], r"sample 's0' must be the JSON text \[ids, segments\]"),
        ([[[1.5], [0]]], r"sample 's0' must be the JSON text"),
        ([7], r"sample 's0' must be the JSON text"),
    ],
)
def test_token_ids_that_cannot_be_are_refused(
    rows: list[object], message: str, bert: Backbone
) -> None:
    with pytest.raises(InputError, match=message):
        tokens_of(table(*rows), "text_bert", bert, "here")


def test_raw_text_comes_before_text_bert(bert: Backbone) -> None:
    both = table([[1], [0]]).with_columns(raw_text=pl.lit("good"))
    assert text_column(both, None, bert, "here") == "raw_text"
    assert text_column(both, "text_bert", bert, "here") == "text_bert"
    assert text_column(both.drop("raw_text"), None, bert, "here") == "text_bert"


def test_a_missing_text_is_said_with_what_is_there(bert: Backbone) -> None:
    samples = pl.DataFrame({"id": ["s0"], "speaker": ["a"]})
    with pytest.raises(InputError, match="raw_text or text_bert, but there are id, speaker"):
        text_column(samples, None, bert, "here")
    with pytest.raises(InputError, match="needs the column text_bert, but there are"):
        text_column(samples, "text_bert", bert, "here")


def test_the_ids_of_bert_fit_no_other_family(backbones: dict[str, Path]) -> None:
    albert = find_backbone(str(backbones["albert"]))
    with pytest.raises(InputError, match="is of the family albert, which needs raw_text"):
        text_column(table([[1], [0]]), None, albert, "here")


def test_the_tokens_of_the_development_splits_stand_at_their_rows(
    spoken: DevelopmentData, bert: Backbone
) -> None:
    found: Tokens = split_tokens(spoken, bert)
    seen = np.zeros(len(found.lengths), dtype=bool)
    for split in spoken.splits.values():
        own = tokens_of_texts(split.samples["raw_text"].to_list(), bert)
        steps = own.ids.shape[1]
        np.testing.assert_array_equal(found.ids[split.rows, :steps], own.ids)
        np.testing.assert_array_equal(found.lengths[split.rows], own.lengths)
        seen[split.rows] = True
    assert not seen.all()
    assert not found.ids[~seen].any()
