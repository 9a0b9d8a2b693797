"""The data card tells what is in the folder, and looks at no held-out label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cmir.data.cards.card import data_card
from cmir.data.cards.card_text import render
from tests.support.made_data.small_data import (
    COUNT,
    SIZES,
    STEPS,
    small_features,
    small_samples,
    write_small,
)


def test_sizes_groups_and_labels_are_those_of_the_samples(tmp_path: Path) -> None:
    samples = small_samples()
    card = data_card(write_small(tmp_path / "small"))
    assert card.sizes == SIZES
    assert card.groups == {"speaker": dict.fromkeys(SIZES, 3)}
    assert list(card.labels) == ["train", "id_val", "ood_val"]
    for name, labels in card.labels.items():
        values = samples.filter(pl.col("split") == name)["label"].to_numpy()
        assert labels.mean == pytest.approx(values.mean())
        assert labels.std == pytest.approx(values.std())
        bins = np.floor((values + 3) / 6 * 7)
        assert labels.histogram == tuple(int((bins == index).sum()) for index in range(7))


def test_the_share_of_neutral_labels_is_told(tmp_path: Path) -> None:
    is_neutral = pl.int_range(pl.len()) < 3
    samples = small_samples().with_columns(label=pl.when(is_neutral).then(0.0).otherwise("label"))
    card = data_card(write_small(tmp_path / "small", samples=samples))
    assert [labels.zeros for labels in card.labels.values()] == [0.25, 0.0, 0.0]


def test_classes_are_counted_one_by_one(tmp_path: Path) -> None:
    samples = small_samples("binary")
    arguments = {"samples": samples, "task": "binary", "label_range": None}
    card = data_card(write_small(tmp_path / "small", **arguments))
    assert card.labels["train"].histogram == (6, 6)


def test_shared_groups_are_counted_for_each_pair_of_splits(tmp_path: Path) -> None:
    speakers = ["a"] * 11 + ["b"] + ["a", "b", "c"] * 2 + ["d"] * 6 + ["c"] * 4 + ["a"] * 4
    samples = small_samples().with_columns(speaker=pl.Series(speakers))
    card = data_card(write_small(tmp_path / "small", samples=samples))
    shared = {pair: count for pair, count in card.shared["speaker"].items() if count}
    assert shared == {
        ("train", "id_val"): 2,
        ("train", "ood_test"): 1,
        ("id_val", "id_test"): 1,
        ("id_val", "ood_test"): 1,
    }
    assert card.warnings == (
        "ood_test shares 1 speaker groups with train: it is not out of distribution by speaker",
        "ood_test shares 1 speaker groups with id_val: it is not out of distribution by speaker",
    )
    assert "WARNING: ood_test shares 1 speaker" in render(card)


def test_zeros_are_counted_over_valid_steps_and_samples_without_any_value(tmp_path: Path) -> None:
    features, lengths = small_features(), small_samples()["text_length"].to_numpy()
    features["text"][[2, 7]] = 0
    features["text"][3, lengths[3] :] = 0
    features["audio"][5, 1] = 0
    card = data_card(write_small(tmp_path / "small", features=features))
    zeros = (lengths[2] + lengths[7]) / lengths.sum()
    text, audio = card.modalities["text"], card.modalities["audio"]
    assert text.zeros == pytest.approx(zeros)
    assert text.absent == pytest.approx(2 / COUNT)
    assert (text.steps, text.size, text.dtype) == (STEPS, 3, "float16")
    assert text.mean_length == pytest.approx(lengths.mean())
    assert audio.zeros == pytest.approx(1 / (COUNT * 4))
    assert audio.absent == 0
    assert (audio.steps, audio.size, audio.mean_length) == (None, 4, None)


def test_replaced_values_are_told_by_column(tmp_path: Path) -> None:
    features = small_features()
    features["audio"][:3, 2] = -np.inf
    card = data_card(write_small(tmp_path / "small", features=features, nonfinite="zero"))
    assert card.modalities["audio"].replaced == {2: 3}
    assert card.modalities["text"].replaced == {}
    assert "3 in 1 of 4 features" in render(card)


def test_held_out_labels_change_nothing_but_the_checksum(tmp_path: Path) -> None:
    is_test = pl.col("split").is_in(["id_test", "ood_test"])
    samples = small_samples()
    other = samples.with_columns(label=pl.when(is_test).then(3.0).otherwise("label"))
    first = render(data_card(write_small(tmp_path / "a")))
    second = render(data_card(write_small(tmp_path / "b", samples=other)))
    assert [
        (a, b) for a, b in zip(first.split("\n"), second.split("\n"), strict=True) if a != b
    ] == [(first.split("\n")[-1], second.split("\n")[-1])]
    assert first.split("\n")[-1].startswith("checksum ")


def test_the_text_tells_source_shift_and_notes(tmp_path: Path) -> None:
    source = {
        "file": "a.pkl", "reader": "mmsa", "sha256": "0123456789abcdef0123",
        "left_out": ["text_bert"], "notes": ["text: no lengths"],
    }  # fmt: skip
    shift = {
        "scheme": "held_out", "column": "speaker", "seed": 3, "share": 0.1,
        "groups": {"ood_val": ["a", "b"]}, "taken_from": {"ood_val": {"train": 5, "id_val": 1}},
    }  # fmt: skip
    text = render(data_card(write_small(tmp_path / "small", source=source, shift=shift)))
    lines = text.split("\n")
    assert lines[:5] == [
        "small: regression, labels in [-3, 3], 32 samples",
        "source   a.pkl (mmsa), sha256 0123456789abcdef",
        "left out text_bert",
        "note     text: no lengths",
        "shift    held out by speaker, seed 3: ood_val = 2 groups, from 5 train + 1 id_val",
    ]
    assert "speakers in two splits: none" in lines
    assert sum("held out: not shown" in line for line in lines) == 2


def test_a_folder_made_by_hand_has_a_card_too(tmp_path: Path) -> None:
    samples = small_samples().drop("speaker")
    folder = write_small(tmp_path / "small", samples=samples)
    (folder / "dataset.json").write_text('{"format": 1, "task": "regression"}')
    text = render(data_card(folder))
    assert text.startswith("small: regression, 32 samples\nshift    not recorded\n")
