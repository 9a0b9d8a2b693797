from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmir.errors import InputError
from cmir.method.language.pretrained.backbones import Backbone, find_backbone
from cmir.method.language.tokens import tokens_of_ids, tokens_of_texts
from tests.support.tiny_backbones import LONGEST, SPECIAL, WORDS

CLS, SEP = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")


@pytest.fixture
def bert(backbones: dict[str, Path]) -> Backbone:
    return find_backbone(str(backbones["bert"]))


def number(word: str) -> int:
    return (*SPECIAL, *WORDS).index(word)


def test_texts_become_ids_with_zeros_beyond_their_end(bert: Backbone) -> None:
    found = tokens_of_texts(["a good film", "bad"], bert)
    good = [CLS, number("a"), number("good"), number("film"), SEP]
    np.testing.assert_array_equal(found.ids, [good, [CLS, number("bad"), SEP, 0, 0]])
    assert found.lengths.tolist() == [5, 3]
    assert not found.segments.any()
    assert found.cut == 0


def test_a_text_that_is_too_long_is_cut_before_its_closing_token_and_counted(
    bert: Backbone,
) -> None:
    found = tokens_of_texts(["very " * 50, "bad"], bert)
    assert found.ids.shape == (2, LONGEST)
    assert (found.ids[0, 0], found.ids[0, -1], found.cut) == (CLS, SEP, 1)
    assert tokens_of_texts(["a good film"], bert, longest=4).ids.tolist() == [
        [CLS, number("a"), number("good"), SEP]
    ]


def test_which_texts_were_cut_is_told(bert: Backbone) -> None:
    assert tokens_of_texts(["bad", "very " * 50], bert).is_cut.tolist() == [False, True]
    ids = [([CLS, 7, SEP], [0, 0, 0]), ([CLS, SEP], [0, 0])]
    assert tokens_of_ids(ids, bert, longest=2).is_cut.tolist() == [True, False]


def test_an_empty_text_is_refused_with_its_place(bert: Backbone) -> None:
    with pytest.raises(InputError, match="must not be empty, but is for 2 samples: 1, 2"):
        tokens_of_texts(["good", "", " \n"], bert)
