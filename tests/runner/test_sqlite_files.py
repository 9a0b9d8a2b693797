"""Databases that are files: made whole, and refused in one sentence where they are not."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from cmir.errors import InputError
from cmir.runner import sqlite_files
from cmir.runner.sqlite_files import check_whole, made_whole


def make(file: Path, *, version: bool = True, runs: int = 1) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE version (number TEXT)")
        database.execute("CREATE TABLE runs (id TEXT)")
        database.executemany("INSERT INTO runs VALUES (?)", [(str(n) * 900,) for n in range(runs)])
        if version:
            database.execute("INSERT INTO version VALUES ('1')")


def check(file: Path) -> None:
    check_whole(file, "version", ("runs",), "the runs are written anew")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "a b.db"
    make(made, runs=20)
    return made


def test_a_whole_database_passes(file: Path) -> None:
    check(file)


def test_a_database_that_is_cut_off_is_told_with_the_command_that_moves_it(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match=r"shorter than it says.*mv '.*a b.db' '.*damaged'"):
        check(file)


def test_a_file_that_is_no_database_is_told(file: Path) -> None:
    file.write_bytes(b"<html>" * 400)
    with pytest.raises(InputError, match=r"no whole database of sqlite: file is not a database"):
        check(file)


def test_a_database_that_was_made_half_and_holds_nothing_may_be_moved_away(tmp_path: Path) -> None:
    make(tmp_path / "half.db", version=False, runs=0)
    with pytest.raises(InputError, match=r"half made.*Move it away.*mv .*half.db"):
        check(tmp_path / "half.db")


def test_a_database_with_rows_is_never_called_half_made(tmp_path: Path) -> None:
    make(tmp_path / "old.db", version=False, runs=1)
    check(tmp_path / "old.db")


def test_a_locked_database_is_told_as_such(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_files, "PATIENCE", 0.1)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match=r"another program has locked it.*nothing is lost"):
            check(file)


def test_a_database_that_could_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    def full(draft: Path) -> None:
        make(draft)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        made_whole(tmp_path / "a.db", full)
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_of_a_database_is_made_anew(tmp_path: Path) -> None:
    make(tmp_path / "a.db.part", version=False)
    (tmp_path / "a.db").touch()
    made_whole(tmp_path / "a.db", make)
    check(tmp_path / "a.db")
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]


def test_of_several_that_begin_together_one_makes_the_database(tmp_path: Path) -> None:
    made: list[Path] = []

    def slowly(draft: Path) -> None:
        threading.Event().wait(0.05)
        make(draft)
        made.append(draft)

    threads = [
        threading.Thread(target=made_whole, args=(tmp_path / "a.db", slowly)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
