"""Paths that are written down are found again in a folder that has moved."""

from __future__ import annotations

from pathlib import Path

from cmir.runner.paths import Paths


def test_a_path_below_the_root_moves_with_it(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "per%41cent ü"
    (old / "data" / "mosi").mkdir(parents=True)
    recorded = Paths(old).recorded(str(old / "data" / "mosi"))
    assert recorded == "data/mosi"
    old.rename(new)
    assert Paths(new).found(recorded) == new / "data" / "mosi"


def test_a_path_elsewhere_stays_where_it_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    paths = Paths(tmp_path / "root")
    assert paths.found(paths.recorded(str(elsewhere))) == elsewhere


def test_a_whole_path_of_an_older_record_is_looked_for_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "new" / "data" / "mosi").mkdir(parents=True)
    found = Paths(tmp_path / "new").found("/gone/old/data/mosi")
    assert found == tmp_path / "new" / "data" / "mosi"
    assert not Paths(tmp_path / "new").found("/gone/old/data/other").exists()
