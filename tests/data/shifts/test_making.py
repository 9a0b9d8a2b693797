"""From `--shift` to a dataset folder: every scheme, its card, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cmir.data import load_dataset
from cmir.data.cards.card import data_card
from cmir.data.cards.card_text import render
from cmir.data.formats.readers import mmsa
from cmir.data.preparing import prepare
from cmir.data.shifts.making import make_shift, read_shift
from cmir.errors import InputError
from tests.support.made_data.biased_texts import biased_samples
from tests.support.made_data.small_data import mmsa_content, write_pickle

PNG = b"\x89PNG\r\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """MMSA's pickle with the biased texts, their labels, and a vector that knows its row."""
    samples = biased_samples(300).with_row_index()
    content = {}
    for theirs, ours in (("train", "train"), ("valid", "id_val"), ("test", "id_test")):
        own = samples.filter(pl.col("split") == ours)
        content[theirs] = {
            "id": own["id"].to_list(),
            "raw_text": own["raw_text"].to_list(),
            "regression_labels": own["label"].to_numpy(),
            "audio": own["index"].to_numpy().astype(np.float32)[:, None].repeat(2, axis=1),
        }
    return write_pickle(tmp_path / "biased.pkl", content)


def prepared(source: Path, out: Path, shift: str) -> str:
    """The card of the data set that is made."""
    return render(data_card(prepare(source, out, reader="mmsa", shift=shift, overwrite=True)))


def rows_by_id(folder: Path) -> dict[str, float]:
    dataset = load_dataset(folder)
    array = np.asarray(dataset.modalities["audio"].array)
    return dict(zip(dataset.metadata["id"], array[:, 0].tolist(), strict=True))


def test_a_word_bias_leaves_its_picture_and_an_index_that_makes_it_again(
    source: Path, tmp_path: Path
) -> None:
    card = prepared(source, tmp_path / "a", "word_bias:0.6")
    assert "shift    word bias, seed 0: contrast of words 0." in card
    assert (tmp_path / "a" / "annealing.png").read_bytes().startswith(PNG)
    again = prepared(source, tmp_path / "b", f"index:{tmp_path / 'a' / 'splits.json'}")
    assert "shift    as in the index splits.json\n" in again
    assert load_dataset(tmp_path / "a").checksum == load_dataset(tmp_path / "b").checksum
    assert not (tmp_path / "b" / "annealing.png").exists()


def test_the_card_says_what_the_words_lose(source: Path, tmp_path: Path) -> None:
    lines = prepared(source, tmp_path / "a", "word_bias").splitlines()
    words = next(line for line in lines if line.startswith("words")).split()
    inside, outside, random = float(words[1]), float(words[2]), float(words[3])
    assert outside < 0.1 < 0.3 < min(inside, random)


def test_samples_that_are_left_out_take_their_features_with_them(
    source: Path, tmp_path: Path
) -> None:
    prepared(source, tmp_path / "all", "held_out:video")
    shift = "given:train=train,id_val=train:0.2,ood_val=valid"
    card = prepared(source, tmp_path / "some", shift)
    named = "train = train, id_val = train:0.2, ood_val = valid; id_val by video; left out"
    assert f"the splits of the source: {named}" in card
    every, some = rows_by_id(tmp_path / "all"), rows_by_id(tmp_path / "some")
    assert len(some) < len(every)
    assert some.items() <= every.items()


def test_the_card_says_how_labels_were_mapped(tmp_path: Path) -> None:
    first = write_pickle(tmp_path / "first.pkl", mmsa_content())
    content = mmsa_content()
    for split in content.values():
        split["id"] = [f"other_{name}" for name in split["id"]]
        split["regression_labels"] = split["regression_labels"] / 3
    other = write_pickle(tmp_path / "other.pkl", content)
    card = prepared(first, tmp_path / "out", f"cross:{other}")
    mapped = "its labels mapped linearly from [-1, 1] to [-3, 3]: 3 y +0"
    assert f"cross: ood_val and ood_test are those of other.pkl, {mapped}" in card


def test_splits_of_the_source_can_be_made_anew_by_word_bias_alone(tmp_path: Path) -> None:
    content = mmsa_content(train=20, valid=8, ood_valid=8)
    found = mmsa(write_pickle(tmp_path / "ood.pkl", content))
    with pytest.raises(InputError, match="brings an out-of-distribution validation split"):
        make_shift(found, read_shift("held_out:video", 0, 0.15), lambda files: found)
    shifted = make_shift(
        found, read_shift("given:train=train,id_val=valid", 0, 0.15), lambda f: found
    )
    assert set(shifted.samples["split"]) == {"train", "id_val"}
    assert sum(len(block) for block in shifted.blocks("audio")) == 28


@pytest.mark.parametrize(
    "text",
    ["", "speaker", "held_out", "held_out:", "given:", "index:", "cross:", "none:x", "word"],
)
def test_a_scheme_that_there_is_not_is_refused_before_anything_is_read(text: str) -> None:
    with pytest.raises(InputError, match=r"--shift must be held_out:<column>, .*index:<file>"):
        read_shift(text, 0, 0.15)


@pytest.mark.parametrize("text", ["word_bias:much", "word_bias:0", "word_bias:-1"])
def test_a_contrast_must_be_a_number_above_0(text: str) -> None:
    with pytest.raises(InputError, match="must be a number above 0, but got"):
        read_shift(text, 0, 0.15)


def test_real_reviews_lose_their_words_where_random_splits_do_not(
    mosi_file: Path, tmp_path: Path
) -> None:
    folder = prepare(mosi_file, tmp_path / "mosi", reader="mmsa", shift="word_bias:0.5")
    words = data_card(folder).strength["words"]
    assert words.outside < 0.35 < 0.4 < min(words.inside, *words.random)
