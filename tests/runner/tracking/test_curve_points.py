"""Points written into MLflow's file are those that its client would have written."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from cmir.runner.sqlite_files import sqlite_file
from cmir.runner.tracking.curve_points import insert_points
from tests.support.small_promotion import open_store

VALUES = (0.9, math.nan, math.inf, -math.inf, 0, 0.9)
POINTS = [
    *(Metric("curve", value, 20_500, step) for step, value in enumerate(VALUES, start=1)),
    Metric("split/metric_std", 1e-300, 20_500, 1),
    Metric("last is not a number", 0.5, 20_500, 1),
    Metric("last is not a number", math.nan, 20_500, 2),
]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return open_store(tmp_path, monkeypatch)


def rows(file: Path, run: str) -> list[list[tuple[object, ...]]]:
    """What MLflow's tables hold about the metrics of a run, all columns but its id."""
    found = []
    with closing(sqlite3.connect(file)) as database:
        for table in ("metrics", "latest_metrics"):
            asked = database.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", [run])
            names = [column[0] for column in asked.description]
            kept = [place for place, name in enumerate(names) if name != "run_uuid"]
            found.append(sorted(tuple(row[place] for place in kept) for row in asked))
    return found


def test_rows_are_those_of_the_client(client: MlflowClient, tmp_path: Path) -> None:
    ours, theirs = (client.create_run("0").info.run_id for _ in range(2))
    file = sqlite_file(client.tracking_uri)
    assert file == tmp_path / "mlflow.db"
    assert insert_points(file, ours, POINTS)
    client.log_batch(theirs, POINTS)
    assert rows(file, ours) == rows(file, theirs)
    assert sum(map(len, rows(file, ours))) == len(POINTS) + 3


def test_points_that_are_there_already_are_not_doubled(
    client: MlflowClient, tmp_path: Path
) -> None:
    run, file = client.create_run("0").info.run_id, tmp_path / "mlflow.db"
    client.log_batch(run, POINTS)
    before = rows(file, run)
    assert insert_points(file, run, POINTS)
    assert rows(file, run) == before


def test_other_tables_than_todays_are_left_to_the_client(
    client: MlflowClient, tmp_path: Path
) -> None:
    run, file = client.create_run("0").info.run_id, tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("ALTER TABLE latest_metrics RENAME COLUMN is_nan TO nan_like")
    assert not insert_points(file, run, POINTS)
    assert rows(file, run) == [[], []]


def test_a_file_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    assert not insert_points(tmp_path / "mlflow.db", "run", POINTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:5000", "postgresql://h/d", "./mlruns", "databricks", "sqlite://"]
)
def test_a_store_that_is_no_file_of_sqlite_has_none(uri: str) -> None:
    assert sqlite_file(uri) is None


def test_the_file_is_found_from_another_folder_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sqlite_file("sqlite:///mlflow.db") == tmp_path / "mlflow.db"
