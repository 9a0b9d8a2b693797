"""Rows that are padded, cut or chosen when asked for are those of a plain array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmir.data.formats.source import Chosen, Made, Ragged, float_blocks


def sequences(dtype: type[np.floating] = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(length, 3)).astype(dtype) for length in (2, 5, 0, 1)]


def padded(steps: int) -> np.ndarray:
    whole = np.zeros((4, steps, 3), np.float32)
    for place, sequence in zip(whole, sequences(), strict=True):
        kept = sequence[max(0, len(sequence) - steps) :]
        place[: len(kept)] = kept
    return whole


@pytest.mark.parametrize("steps", [1, 3, 5, 8])
def test_sequences_are_padded_behind_and_cut_in_front(steps: int) -> None:
    rows = Ragged(sequences(), steps)
    assert rows.shape == (4, steps, 3)
    np.testing.assert_array_equal(rows[0:4], padded(steps))
    np.testing.assert_array_equal(rows[1:3], padded(steps)[1:3])
    assert rows.lengths.tolist() == [min(2, steps), min(5, steps), 1, 1]


def test_the_longest_sequence_decides_and_more_padding_changes_no_value() -> None:
    rows = Ragged(sequences())
    assert rows.shape[1] == 5
    np.testing.assert_array_equal(rows.padded_to(9)[0:4][:, :5], rows[0:4])


def test_halves_stay_halves() -> None:
    assert Ragged(sequences(np.float16)).dtype == np.float16
    assert Ragged([*sequences(np.float16), np.ones((1, 3))]).dtype == np.float32


def test_different_numbers_of_features_are_told() -> None:
    assert Ragged([np.ones((1, 3)), np.ones((2, 4)), np.ones((0, 9))]).sizes == [3, 4]


def test_made_arrays_are_made_when_asked_for() -> None:
    asked: list[int] = []

    def make(place: int) -> np.ndarray:
        asked.append(place)
        return np.full((1, 1), place)

    made = Made(5, make)
    assert [int(array[0, 0]) for array in made[1:4][1:]] == [2, 3]
    assert asked == [2, 3]
    assert len(list(made)) == 5


def test_chosen_rows_are_those_of_the_array() -> None:
    array = np.arange(24.0).reshape(6, 4)
    rows = Chosen(array, np.array([5, 0, 3]))
    assert (rows.shape, len(rows)) == ((3, 4), 3)
    np.testing.assert_array_equal(rows[1:3], array[[0, 3]])


def test_blocks_of_a_mapped_array_at_an_odd_address_are_its_values(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(6, 1000, 1000)).astype(np.float32)
    file = tmp_path / "odd.bin"
    file.write_bytes(b"odd" + values.tobytes())
    mapped = np.memmap(file, np.float32, "r", offset=3, shape=values.shape)
    blocks = list(float_blocks([mapped, values[:1]]))
    assert [len(block) for block in blocks] == [4, 2, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), [*values, values[0]])
    assert all(block.flags.aligned and block.flags.owndata for block in blocks)


def test_what_is_too_large_for_single_precision_becomes_infinite() -> None:
    (block,) = float_blocks([np.array([[1e300, -1e300, 1.0]])])
    assert block.tolist() == [[np.inf, -np.inf, 1.0]]
