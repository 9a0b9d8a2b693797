"""MMSA's layout as it is met: CH-SIMS, CIDer, lists of arrays, object arrays, bytes, masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.data.formats.readers import mmsa, read_source
from cmir.data.formats.source import Source
from cmir.errors import InputError
from tests.support.made_data.small_data import Content, mmsa_content, write_pickle


def with_keys(**values: Callable[[int], Any]) -> Content:
    content = mmsa_content()
    for split in content.values():
        split |= {key: value(len(split["id"])) for key, value in values.items()}
    return content


def read(folder: Path, content: object, **options: Any) -> Source:
    return mmsa(write_pickle(folder / "features.pkl", content), **options)


def rows(source: Source, name: str) -> np.ndarray:
    return np.concatenate(list(source.blocks(name)))


def test_the_unimodal_labels_of_sims_are_further_labels(tmp_path: Path) -> None:
    keys = {
        f"regression_labels_{m}": lambda n, m=m: np.linspace(-1, ord(m) / 100, n) for m in "TAV"
    }
    source = read(tmp_path, with_keys(**keys, regression_labels=lambda n: np.linspace(-1, 1, n)))
    for column, m in (("label_text", "T"), ("label_audio", "A"), ("label_vision", "V")):
        expected = np.linspace(-1, ord(m) / 100, 40).astype(np.float32)
        np.testing.assert_array_equal(source.samples[column].to_numpy()[:40], expected)
        assert f"regression_labels_{m}" not in source.left_out
    learned = read(tmp_path, with_keys(**keys), label="regression_labels_A")
    assert "label_audio" not in learned.samples.columns
    assert "label_text" in learned.samples.columns


def test_vectors_and_sequences_may_be_mixed_as_in_sims_v2(tmp_path: Path) -> None:
    source = read(tmp_path, with_keys(audio=lambda n: np.ones((n, 25), np.float32)))
    assert rows(source, "audio").shape == (72, 25)
    assert rows(source, "text").shape == (72, 5, 6)


def ragged(n: int) -> list[np.ndarray]:
    return [np.full((1 + i % 4, 3), i, np.float32) for i in range(n)]


def as_objects(arrays: list[np.ndarray]) -> np.ndarray:
    objects = np.empty(len(arrays), object)
    objects[:] = arrays
    return objects


@pytest.mark.parametrize("kind", [list, as_objects, tuple])
def test_sequences_of_different_lengths_are_padded(
    tmp_path: Path, kind: Callable[[list[np.ndarray]], Any]
) -> None:
    content = with_keys(face=lambda n: kind(ragged(n)))
    source = read(tmp_path, content)
    found = rows(source, "face")
    assert found.shape == (72, 4, 3)
    lengths = source.samples["face_length"].to_numpy()
    assert lengths[:5].tolist() == [1, 2, 3, 4, 1]
    for row, length in zip(found, lengths, strict=True):
        assert np.ptp(row[:length]) == 0
        assert not row[length:].any()


def test_object_arrays_of_numbers_are_read_as_numbers(tmp_path: Path) -> None:
    content = with_keys(
        face=lambda n: np.arange(n * 8).reshape(n, 4, 2).astype(object),
        touch=lambda n: as_objects([np.full(3, i, float) for i in range(n)] + [np.ones(2)])[:-1],
        regression_labels=lambda n: np.linspace(-3, 3, n).astype(object),
    )
    source = read(tmp_path, content)
    np.testing.assert_array_equal(
        rows(source, "face")[:40], np.arange(320).reshape(40, 4, 2).astype(np.float32)
    )
    assert rows(source, "touch").shape == (72, 3)
    assert source.samples["label"].dtype.is_float()


def test_keys_splits_and_texts_in_bytes_are_read(tmp_path: Path) -> None:
    content = mmsa_content()
    expected = read(tmp_path, content)
    for split in content.values():
        split["id"] = [name.encode() for name in split["id"]]
        split["raw_text"] = np.array([text.encode() for text in split["raw_text"]])
    as_bytes = {s.encode(): {k.encode(): v for k, v in x.items()} for s, x in content.items()}
    assert read(tmp_path, as_bytes).samples.equals(expected.samples)


def masked(n: int) -> np.ndarray:
    tokens = np.zeros((n, 3, 5), np.float32)
    tokens[:, 1] = np.arange(5) <= np.arange(n)[:, None] % 5
    return tokens


def test_the_attention_mask_says_where_a_text_ends(tmp_path: Path) -> None:
    source = read(tmp_path, with_keys(text_bert=masked))
    assert source.samples["text_length"].to_list()[:6] == [1, 2, 3, 4, 5, 1]
    given = with_keys(text_bert=masked, text_lengths=lambda n: [5] * n)
    assert set(read(tmp_path, given).samples["text_length"]) == {5}


@pytest.mark.parametrize(
    "mask",
    [
        lambda n: masked(n)[:, :, ::-1],
        lambda n: masked(n) * 2,
        lambda n: masked(n)[:, :2],
        lambda n: masked(n)[:, :, :4],
        lambda n: np.zeros((n, 3, 5)),
    ],
)
def test_what_is_no_mask_says_nothing(tmp_path: Path, mask: Callable[[int], Any]) -> None:
    source = read(tmp_path, with_keys(text_bert=mask))
    assert "text_length" not in source.samples.columns
    assert "text: no lengths in the source, every step counts as valid" in source.notes


def test_the_test_split_of_cider_is_out_of_distribution(tmp_path: Path) -> None:
    folder = tmp_path / "OOD_MOSI" / "seven"
    folder.mkdir(parents=True)
    source = read(folder, mmsa_content())
    assert set(source.samples["split"]) == {"train", "id_val", "ood_test"}
    assert "the file lies in a folder OOD_...: its test split is ood_test" in source.notes
    otherwise = read(folder, mmsa_content(), splits={"test": "id_test"})
    assert set(otherwise.samples["split"]) == {"train", "id_val", "id_test"}


def test_splits_of_other_names_are_given_a_meaning(tmp_path: Path) -> None:
    content = mmsa_content(train=8, fold3=4, test=4)
    source = read(tmp_path, content, splits={"fold3": "id_val", "test": "ood_test"})
    assert set(source.samples["split"]) == {"train", "id_val", "ood_test"}
    with pytest.raises(InputError, match="--split fold3=good: must be one of train, id_val"):
        read(tmp_path, content, splits={"fold3": "good"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            with_keys(face=lambda n: [np.ones((2, 3 + i % 2)) for i in range(n)]),
            "face: every sample must have the same number of features, but there are 3, 4",
        ),
        (
            with_keys(text=lambda n: np.full((n, 2, 2), "a", object)),
            "text must be a floating-point",
        ),
        (with_keys(text=lambda n: [np.ones((2, 2)), "a"] * (n // 2)), "text must be a floating-p"),
        (with_keys(text=lambda n: [1.0] * n), "text must be a floating-point array .* is list"),
        (
            with_keys(face=lambda n: ragged(n - 1), text=lambda n: ragged(n - 1)),
            "must have 40 rows",
        ),
        (
            with_keys(regression_labels_T=lambda n: ["a"] * n),
            "regression_labels_T must hold one nu",
        ),
        (with_keys(audio_lengths=lambda n: [0] * n), "remove the key: lengths are then told"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, content: Content, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)


def test_a_reader_refuses_options_and_files_that_it_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--steps: means nothing to the reader mmsa"):
        read_source("mmsa", [tmp_path], steps=5)
    with pytest.raises(InputError, match="--label: means nothing to the reader mag"):
        read_source("mag", [tmp_path], label="mood")
    with pytest.raises(InputError, match="the reader npz takes one source, but got 2"):
        read_source("npz", [tmp_path / "a", tmp_path / "b"])
