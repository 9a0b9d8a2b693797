"""Token ids are kept as tokens or refused, under whatever key and in whatever type they come."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.data.formats.inspection.token_ids import token_texts
from cmir.data.formats.readers import mmsa, npz
from cmir.errors import InputError
from tests.support.made_data.small_data import Content, mmsa_content, write_npz, write_pickle


def tokens(count: int, in_front: bool = False, dtype: Any = np.float32) -> np.ndarray:
    """BERT's input `(N, 3, 9)`: ids, mask, segments."""
    rng = np.random.default_rng(count)
    found = np.zeros((count, 3, 9), dtype)
    for row in range(count):
        length = int(rng.integers(3, 10))
        place = slice(9 - length, 9) if in_front else slice(0, length)
        found[row, 0, place] = rng.integers(100, 30000, length)
        found[row, 1, place] = 1
    return found


def with_key(key: str, value: Callable[[int], Any], without: tuple[str, ...] = ()) -> Content:
    content = mmsa_content()
    for split in content.values():
        for name in ("text_bert", *without):
            split.pop(name)
        split[key] = value(len(split["id"]))
    return content


@pytest.mark.parametrize("key", ["text", "bert", "text_tokens"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("in_front", [False, True])
def test_the_input_of_bert_is_kept_as_tokens(
    tmp_path: Path, key: str, dtype: Any, in_front: bool
) -> None:
    content = with_key(key, lambda n: tokens(n, in_front, dtype))
    source = npz(write_npz(tmp_path / "a.npz", content))
    assert key not in source.parts
    assert {"audio", "vision"} <= set(source.parts)
    found = json.loads(source.samples["text_bert"][3])
    wanted = tokens(40)[3] if not in_front else tokens(40, True)[3]
    assert found[0] == wanted[0][wanted[1] == 1].astype(int).tolist()
    assert any(note.startswith(f"{key}: token ids") for note in source.notes)


def test_a_list_of_inputs_of_bert_is_one(tmp_path: Path) -> None:
    source = mmsa(write_pickle(tmp_path / "a.pkl", with_key("bert", lambda n: list(tokens(n)))))
    assert "bert" not in source.parts
    assert "text_bert" in source.samples.columns


def test_beside_text_bert_another_is_left_out(tmp_path: Path) -> None:
    content = with_key("bert", tokens)
    for split in content.values():
        split["text_bert"] = tokens(len(split["id"]))
    source = mmsa(write_pickle(tmp_path / "a.pkl", content))
    assert "bert" not in source.parts
    assert any("left out, as text_bert is there" in note for note in source.notes)


@pytest.mark.parametrize(
    "value",
    [
        lambda n: tokens(n)[:, 0],
        lambda n: tokens(n).transpose(0, 2, 1),
        lambda n: tokens(n)[:, :2],
        lambda n: tokens(n)[:, 0, :, None],
        lambda n: [row[0, :3] for row in tokens(n)],
    ],
)
def test_token_ids_of_another_shape_are_refused(
    tmp_path: Path, value: Callable[[int], Any]
) -> None:
    with pytest.raises(InputError, match="text must hold features, but holds whole numbers from 0"):
        mmsa(write_pickle(tmp_path / "a.pkl", with_key("text", value)))


def test_the_inputs_of_a_tokenizer_by_name_are_left_out(tmp_path: Path) -> None:
    source = mmsa(
        write_pickle(tmp_path / "a.pkl", with_key("input_ids", lambda n: tokens(n)[:, 0]))
    )
    assert "input_ids" in source.left_out


@pytest.mark.parametrize(
    "value",
    [
        lambda n: np.eye(40)[np.arange(n) % 40],
        lambda n: np.arange(n * 3).reshape(n, 3) % 200.0,
        lambda n: -np.arange(n * 3).reshape(n, 3).astype(float) * 100,
        lambda n: np.arange(n * 9).reshape(n, 3, 3) / 2,
        lambda n: np.arange(n * 9).reshape(n, 3, 3) % 2.0,
    ],
)
def test_whole_numbers_that_are_no_places_are_features(
    tmp_path: Path, value: Callable[[int], Any]
) -> None:
    assert "face" in mmsa(write_pickle(tmp_path / "a.pkl", with_key("face", value))).parts


def test_a_mask_with_gaps_is_none() -> None:
    broken = tokens(4)
    broken[0, 1] = [1, 0, 1, 0, 0, 0, 0, 0, 0]
    assert token_texts(broken, 4) is None
