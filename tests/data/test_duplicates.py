"""The same features under two ids in two splits are a warning with numbers."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cmir.data.cards.card import data_card
from cmir.data.cards.card_text import render
from tests.support.made_data.small_data import small_features, small_samples, write_small


def test_copies_in_two_splits_are_counted_and_named(tmp_path: Path) -> None:
    features = small_features()
    lengths = small_samples()["text_length"].to_numpy().copy()
    for copy, original in ((12, 0), (13, 1), (18, 1), (25, 24)):
        for array in features.values():
            array[copy] = array[original]
        lengths[copy] = lengths[original]
    # What lies beyond the length is no feature.
    features["text"][12, lengths[12] :] = 9
    samples = small_samples().with_columns(text_length=lengths)
    card = data_card(write_small(tmp_path / "a", features=features, samples=samples))
    told = [w for w in card.warnings if "the same features" in w]
    assert told == [
        "2 samples of id_val hold the same features as samples of train under other ids: "
        "'s12' = 's0', 's13' = 's1'. They are a leak: leave one of each two out",
        "1 sample of ood_val holds the same features as samples of train under other ids: "
        "'s18' = 's1'. They are a leak: leave one of each two out",
        "1 sample of ood_val holds the same features as samples of id_val under other ids: "
        "'s18' = 's13'. They are a leak: leave one of each two out",
    ]
    assert f"WARNING: {told[0]}" in render(card)


def test_what_is_absent_or_shared_in_one_modality_alone_is_no_copy(tmp_path: Path) -> None:
    features = small_features()
    features["text"][12] = features["text"][0]
    for array in features.values():
        array[[2, 20]] = 0
    samples = small_samples().with_columns(text_length=pl.lit(5, pl.Int32))
    card = data_card(write_small(tmp_path / "a", features=features, samples=samples))
    assert not any("the same features" in warning for warning in card.warnings)
