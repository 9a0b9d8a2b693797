"""Padding is told from the content: in front or behind, with lengths or without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cmir.data import load_dataset
from cmir.data.cards.card import data_card
from cmir.data.formats.readers import mmsa, npz
from cmir.data.formats.source import Source
from cmir.data.preparing import prepare
from cmir.data.row_blocks import filled_span, placed
from tests.support.made_data.small_data import (
    Content,
    mmsa_content,
    write_npz,
    write_pickle,
    write_small,
)

STEPS = 8


def padded(in_front: bool, with_lengths: bool) -> tuple[Content, dict[str, np.ndarray]]:
    """Content whose audio is padded to 8 steps, and the means of its true steps by id."""
    content, means = mmsa_content(), {}
    rng = np.random.default_rng(3)
    for split in content.values():
        lengths = rng.integers(1, STEPS + 1, len(split["id"]))
        audio = np.zeros((len(lengths), STEPS, 3), np.float32)
        for row, length in enumerate(lengths):
            steps = rng.normal(size=(length, 3)) + 1
            audio[row, STEPS - length if in_front else 0 :][:length] = steps
            means[split["id"][row]] = steps.mean(0)
        split["audio"] = audio
        del split["audio_lengths"]
        if with_lengths:
            split["audio_lengths"] = lengths
    return content, means


def rows(source: Source, name: str = "audio") -> np.ndarray:
    return np.concatenate(list(source.blocks(name)))


def pooled(folder: Path) -> dict[str, np.ndarray]:
    dataset = load_dataset(folder)
    found = dataset.modalities["audio"].pooled
    assert found is not None
    return dict(zip(dataset.metadata["id"].to_list(), found, strict=True))


def assert_means(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert set(found) == set(wanted)
    for name, mean in wanted.items():
        np.testing.assert_allclose(found[name], mean, atol=1e-5)


@pytest.mark.parametrize("in_front", [False, True])
@pytest.mark.parametrize("with_lengths", [False, True])
def test_means_are_those_of_the_true_steps(
    tmp_path: Path, in_front: bool, with_lengths: bool
) -> None:
    content, means = padded(in_front, with_lengths)
    prepare(write_pickle(tmp_path / "a.pkl", content), tmp_path / "a", reader="mmsa")
    assert_means(pooled(tmp_path / "a"), means)
    notes = load_dataset(tmp_path / "a").manifest.source["notes"]
    told = [note for note in notes if note.startswith("audio")]
    assert bool(told) == (in_front or not with_lengths)
    prepare(write_npz(tmp_path / "a.npz", content), tmp_path / "b", reader="npz")
    assert_means(pooled(tmp_path / "b"), means)


def test_one_split_may_be_padded_in_front_and_another_behind(tmp_path: Path) -> None:
    for with_lengths in (True, False):
        content, means = padded(False, with_lengths)
        front, more = padded(True, with_lengths)
        content["valid"], means = front["valid"], means | more
        out = tmp_path / str(with_lengths)
        prepare(write_pickle(tmp_path / "a.pkl", content), out, reader="mmsa")
        assert_means(pooled(out), means)


def test_lengths_that_count_every_step_say_nothing(tmp_path: Path) -> None:
    content, means = padded(True, False)
    for split in content.values():
        split["audio_lengths"] = [STEPS] * len(split["id"])
    prepare(write_pickle(tmp_path / "a.pkl", content), tmp_path / "a", reader="mmsa")
    assert_means(pooled(tmp_path / "a"), means)


def test_a_list_of_padded_arrays_is_padded(tmp_path: Path) -> None:
    content, means = padded(True, False)
    for split in content.values():
        split["audio"] = list(split["audio"])
    prepare(write_pickle(tmp_path / "a.pkl", content), tmp_path / "a", reader="mmsa")
    assert_means(pooled(tmp_path / "a"), means)


def test_zeros_inside_a_sequence_and_at_the_ends_of_its_length_are_content(tmp_path: Path) -> None:
    content, _ = padded(False, True)
    audio, lengths = content["train"]["audio"], content["train"]["audio_lengths"]
    lengths[:3] = 6
    audio[:3] = 1.0
    audio[:3, 6:] = 0.0
    audio[0, 2] = audio[1, 0] = audio[2, 5] = 0.0
    source = mmsa(write_pickle(tmp_path / "a.pkl", content))
    assert source.samples["audio_length"][:3].to_list() == [6, 6, 6]
    np.testing.assert_array_equal(rows(source)[:3], audio[:3])


def test_padding_of_nan_is_padding(tmp_path: Path) -> None:
    content, means = padded(False, False)
    for split in content.values():
        blank = ~split["audio"].any(axis=2)
        split["audio"][blank] = np.nan
    prepare(write_pickle(tmp_path / "a.pkl", content), tmp_path / "a", reader="mmsa")
    assert_means(pooled(tmp_path / "a"), means)


def test_a_length_of_0_is_absent_counted_and_named(tmp_path: Path) -> None:
    content, _ = padded(False, True)
    content["train"]["audio_lengths"][3] = 0
    source = mmsa(write_pickle(tmp_path / "a.pkl", content))
    assert not rows(source)[3].any()
    assert source.samples["audio_length"][3] == 1
    assert any("1 of 72 samples are absent" in n and "'train3$_$3'" in n for n in source.notes)


def test_a_length_beyond_the_steps_is_cut_and_warned_about(tmp_path: Path) -> None:
    content, _ = padded(False, True)
    content["valid"]["audio_lengths"][1] = 99
    source = mmsa(write_pickle(tmp_path / "a.pkl", content))
    assert source.samples["audio_length"][41] == STEPS
    assert any("longer than their steps" in w and "'valid1$_$1'" in w for w in source.warnings)


def test_content_beyond_a_few_lengths_is_warned_about(tmp_path: Path) -> None:
    content, _ = padded(False, True)
    content["train"]["audio_lengths"][:4] = 2
    content["train"]["audio"][:4] = 1.0
    source = mmsa(write_pickle(tmp_path / "a.pkl", content))
    assert any("audio: 4 of 72 samples are filled beyond" in w for w in source.warnings)


def test_a_missing_length_is_told_from_the_content(tmp_path: Path) -> None:
    content, means = padded(True, True)
    for split in content.values():
        split["audio_lengths"] = [float(n) for n in split["audio_lengths"]]
        split["audio_lengths"][2] = np.nan
    prepare(write_pickle(tmp_path / "a.pkl", content), tmp_path / "a", reader="mmsa")
    assert_means(pooled(tmp_path / "a"), means)


@pytest.mark.parametrize("with_lengths", [False, True])
def test_splits_padded_each_to_their_own_length_are_padded_on(
    tmp_path: Path, with_lengths: bool
) -> None:
    content, means = padded(False, with_lengths)
    long = max(int(split["audio"].any(axis=2).sum(1).max()) for split in content.values())
    valid = content["valid"]["audio"]
    content["valid"]["audio"] = np.pad(valid, ((0, 0), (0, 5), (0, 0)))
    content["test"]["audio"] = content["test"]["audio"][:, :long]
    prepare(write_npz(tmp_path / "a.npz", content), tmp_path / "a", reader="npz")
    assert load_dataset(tmp_path / "a").modalities["audio"].steps == STEPS + 5
    assert_means(pooled(tmp_path / "a"), means)


def test_sequences_without_padding_are_as_they_were(tmp_path: Path) -> None:
    content = mmsa_content()
    for split in content.values():
        del split["audio_lengths"]
    source = npz(write_npz(tmp_path / "a.npz", content))
    assert "audio_length" not in source.samples.columns
    assert "audio: no lengths in the source, every step counts as valid" in source.notes


def test_steps_of_zeros_that_count_are_a_warning_of_the_card(tmp_path: Path) -> None:
    features: dict[str, Any] = {"text": np.ones((32, 5, 3), np.float32)}
    features["text"][:16, 3:] = 0
    from tests.support.made_data.small_data import small_samples

    samples = small_samples().drop("text_length")
    folder = write_small(tmp_path / "a", features=features, samples=samples)
    warning = next(w for w in data_card(folder).warnings if w.startswith("text"))
    assert "text: 16 samples begin or end with steps of zeros that count, 20% of all" in warning
    lengths = pl.Series("text_length", [3] * 16 + [5] * 16, pl.Int32)
    mended = write_small(tmp_path / "b", features=features, samples=samples.with_columns(lengths))
    assert not any(w.startswith("text:") for w in data_card(mended).warnings)


def test_spans_and_places_agree_with_a_loop() -> None:
    rng = np.random.default_rng(0)
    block = np.where(rng.random((50, 6, 2)) < 0.8, 0.0, rng.normal(size=(50, 6, 2)))
    block[3, 5, 0] = np.nan
    begins, ends = filled_span(block)
    moved = placed(block, begins, ends - begins)
    for row in range(50):
        kept = [s for s in range(6) if (np.isfinite(block[row, s]) & (block[row, s] != 0)).any()]
        wanted = (kept[0], kept[-1] + 1) if kept else (0, 0)
        assert (begins[row], ends[row]) == wanted
        np.testing.assert_array_equal(
            moved[row, : wanted[1] - wanted[0]], block[row, slice(*wanted)]
        )
        assert not moved[row, wanted[1] - wanted[0] :].any()
