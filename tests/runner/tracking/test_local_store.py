"""What keeps MLflow's store from answering is told in one sentence that fits it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cmir.errors import InputError
from cmir.runner import sqlite_files
from cmir.runner.tracking.local_store import unanswered
from cmir.runner.tracking.sweep_tracker import answering, connect
from tests.support.small_promotion import open_store
from tests.support.small_study import ROOT


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    open_store(tmp_path, monkeypatch)
    # Another address of the same file: a new command keeps no connection of an earlier one.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/./mlflow.db")
    return tmp_path / "mlflow.db"


@pytest.fixture(autouse=True)
def _says_nothing_more(store: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    capfd.readouterr()
    yield
    assert capfd.readouterr().err == ""


def change(store: Path, statement: str) -> None:
    with closing(sqlite3.connect(store)) as database, database:
        database.execute(statement)


def test_a_store_that_is_made_here_is_whole_and_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/new/own.db")
    monkeypatch.chdir(tmp_path / "new")
    connect()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["own.db"]


def test_a_store_of_an_older_mlflow_is_told_with_the_command_that_upgrades_it(store: Path) -> None:
    change(store, "UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(InputError, match=r"made by an older MLflow .*mlflow db upgrade sqlite:///"):
        connect()


def test_a_store_of_a_newer_mlflow_is_told(store: Path) -> None:
    change(store, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    with pytest.raises(InputError, match=r"made by a newer MLflow than the .* Install that one"):
        connect()


def test_a_store_that_was_made_half_is_told_with_the_command_that_moves_it(store: Path) -> None:
    change(store, "DELETE FROM alembic_version")
    with pytest.raises(InputError, match=r"half made.*Move it away.*mv "):
        connect()


def test_a_store_that_is_cut_off_is_told_and_left_as_it_is(store: Path) -> None:
    store.write_bytes(store.read_bytes()[:50_000])
    with pytest.raises(InputError, match=r"Put back a copy of it.*must be promoted again"):
        connect()
    assert store.stat().st_size == 50_000


def test_a_store_that_another_program_locks_is_told(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_files, "PATIENCE", 0.1)
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match=r"mlflow.db: another program has locked it"):
            connect()


def test_a_store_that_goes_bad_while_a_command_runs_is_told(store: Path) -> None:
    client: MlflowClient = connect()
    store.write_bytes(b"x" * 400_000)
    with pytest.raises(InputError, match="is no whole database of sqlite"), answering(client):
        client.search_experiments(max_results=1)


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("http://me:s3cret@127.0.0.1:9", "MLflow at http://me:.*:9 does not answer.* Start the"),
        ("file:./mlruns", "must be a server or a database: unset MLFLOW_TRACKING_URI"),
        ("sqlite:////data/mlflow.db", "Nothing is lost: run the same command again"),
    ],
)
def test_the_advice_fits_the_kind_of_store(uri: str, remedy: str) -> None:
    told = unanswered(uri, ConnectionError("no route"), "does not answer")
    assert "s3cret" not in told
    with pytest.raises(InputError, match=remedy):
        raise InputError(told)


def test_two_first_commands_that_begin_together_share_the_store_that_one_of_them_makes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = (
        "from cmir.runner.tracking.sweep_tracker import SweepTracker, connect\n"
        "SweepTracker(connect(), 'e', 's')"
    )
    folder = tmp_path / "fresh"
    folder.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(ROOT)
    begun = [
        subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment)
        for _ in range(3)
    ]
    assert [process.wait() for process in begun] == [0, 0, 0]
    capfd.readouterr()
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (3,)
        assert database.execute("SELECT count(*) FROM experiments").fetchone() == (2,)
