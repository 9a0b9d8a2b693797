"""A worker knows the driver's disk by a word that is in one file while the driver runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmir.errors import PlaceError
from cmir.runner.driver_disk import DriverDisk, driver_disk


def test_the_disk_is_known_while_the_driver_runs_and_by_its_own_word_only(tmp_path: Path) -> None:
    with driver_disk(tmp_path / "s.driver") as disk:
        assert disk.is_here()
        assert not DriverDisk(disk.path, "another").is_here()
    assert not disk.is_here()
    assert list(tmp_path.iterdir()) == []
    with driver_disk(tmp_path / "s.driver") as again:
        assert again.word != disk.word


def test_a_disk_that_takes_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(PlaceError, match="cannot be written"),
        driver_disk(tmp_path / "file" / "s.driver"),
    ):
        pass
