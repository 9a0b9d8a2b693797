from __future__ import annotations

import os
from pathlib import Path

import pytest

from cmir.errors import PlaceError
from cmir.runner.place_check import place_check


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "kept").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "text.npy").write_bytes(b"0123456789")
    return tmp_path / "data"


def sound() -> None:
    """Nothing else to check."""


def test_a_place_that_stays_as_it_was_is_sound_and_nothing_is_left_there(data: Path) -> None:
    kept = data.parent / "kept"
    place_check(data, kept, sound)()
    assert list(kept.iterdir()) == []


def test_data_that_was_cut_off_or_moved_away_is_named(data: Path) -> None:
    check = place_check(data, data.parent / "kept", sound)
    os.truncate(data / "text.npy", 5)
    with pytest.raises(PlaceError, match=r"text\.npy was taken away or changed"):
        check()
    data.rename(data.parent / "moved")
    with pytest.raises(PlaceError, match="run the same command again"):
        check()


def test_a_folder_that_takes_no_files_is_told(data: Path) -> None:
    check = place_check(data, data.parent / "kept", sound)
    (data.parent / "kept").rmdir()
    with pytest.raises(PlaceError, match="kept: cannot be written"):
        check()


def test_what_else_gave_way_comes_first(data: Path) -> None:
    def ray_is_gone() -> None:
        raise PlaceError("Ray's process ended")

    with pytest.raises(PlaceError, match="Ray's process ended"):
        place_check(data, data.parent / "kept", ray_is_gone)()
