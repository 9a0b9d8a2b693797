"""One odd sample refuses no file: it is absent, counted, and named by its id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.data.formats.readers import mmsa
from cmir.data.formats.source import Source
from cmir.errors import InputError
from tests.support.made_data.small_data import Content, mmsa_content, write_pickle

NOTHING = "with nothing in their place"


def with_list(key: str, value: Callable[[int], Any], place: int = 7, odd: Any = None) -> Content:
    """Content with a list under a key, one item of train replaced."""
    content = mmsa_content()
    for split in content.values():
        split[key] = [value(i) for i in range(len(split["id"]))]
    content["train"][key][place] = odd
    return content


def sequence(i: int) -> np.ndarray:
    return np.full((1 + i % 4, 5), i + 1, np.float32)


def read(folder: Path, content: Content) -> tuple[Source, np.ndarray]:
    source = mmsa(write_pickle(folder / "a.pkl", content))
    return source, np.concatenate(list(source.blocks("face")))


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (None, NOTHING),
        (float("nan"), NOTHING),
        ([], NOTHING),
        (np.array([]), NOTHING),
        (np.empty((0, 5)), NOTHING),
        (np.empty((0, 3)), NOTHING),
        (np.zeros((1, 1)), NOTHING),
        (np.zeros((4, 3)), NOTHING),
        (np.ones((4, 3)), "with another number of features"),
        (np.ones(43), "with another number of features"),
        ("no face", "with no array of numbers"),
        (np.ones((2, 2, 2)), "with no array of numbers"),
        (np.array(1.0), "with no array of numbers"),
    ],
)
def test_an_odd_sample_is_absent(tmp_path: Path, odd: Any, reason: str) -> None:
    source, found = read(tmp_path, with_list("face", sequence, odd=odd))
    assert not found[7].any()
    assert source.samples["face_length"][7] == 1
    np.testing.assert_array_equal(found[8, :1], sequence(8))
    assert f"face: 1 sample is absent, {reason}: 'train3$_$7'" in source.notes


def test_a_vector_among_sequences_is_one_step(tmp_path: Path) -> None:
    source, found = read(tmp_path, with_list("face", sequence, odd=np.full(5, 2.0)))
    np.testing.assert_array_equal(found[7, :2], [[2] * 5, [0] * 5])
    assert source.samples["face_length"][7] == 1


@pytest.mark.parametrize("odd", [None, np.array([]), np.ones(3), np.zeros(1)])
def test_an_odd_vector_is_absent(tmp_path: Path, odd: Any) -> None:
    source, found = read(tmp_path, with_list("face", lambda i: np.full(5, i + 1.0), odd=odd))
    assert found.shape == (72, 5)
    assert not found[7].any()
    assert found[8, 0] == 9
    assert any("'train3$_$7'" in note for note in source.notes)


def test_many_may_be_absent_but_not_many_odd(tmp_path: Path) -> None:
    content = with_list("face", lambda i: sequence(i) if i % 3 == 0 else None)
    source, found = read(tmp_path, content)
    assert (~found.any(axis=(1, 2))).sum() == 46
    assert any("face: 46 samples are absent" in note for note in source.notes)
    content = with_list("face", lambda i: np.ones((2, 3 + i % 2)))
    with pytest.raises(InputError, match=r"there are 3, 4, in .* samples, such as 'train"):
        read(tmp_path, content)


def test_a_list_of_texts_or_of_token_ids_is_no_modality(tmp_path: Path) -> None:
    for value in (str, lambda i: np.arange(i + 1), lambda i: [i] * i):
        source = mmsa(write_pickle(tmp_path / "a.pkl", with_list("more", value, odd=None)))
        assert "more" not in source.parts
