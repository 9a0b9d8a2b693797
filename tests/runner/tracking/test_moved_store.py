"""A folder with MLflow's default store that is renamed, moved or copied goes on where it is."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.pyfunc.model import PythonModel
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from cmir.runner.tracking.sweep_tracker import connect, experiment_id

NAMES = ("plain", "per%41cent", "with space", "Übung # 1", "100%")
COLUMNS = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


class Echo(PythonModel):
    def predict(self, model_input: list[str]) -> list[str]:  # type: ignore[override]
        return model_input


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """What a new command does, which knows no place of an earlier one."""
    _artifact_repos_cache.clear()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folder)
    return connect()


def run_with_a_file(client: MlflowClient, name: str) -> str:
    run = client.create_run(experiment_id(client, name)).info.run_id
    client.log_text(run, "kept", "a.txt")
    return str(run)


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def places(store: Path) -> list[str]:
    with closing(sqlite3.connect(store)) as database:
        return [
            place
            for table, column in COLUMNS.items()
            for (place,) in database.execute(f"SELECT {column} FROM {table}")
        ]


@pytest.mark.parametrize("name", NAMES)
def test_files_lie_below_a_folder_of_any_name_and_nowhere_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    client = enter(folder, monkeypatch)
    run = run_with_a_file(client, "e")
    assert [file.path for file in client.list_artifacts(run)] == ["a.txt"]
    assert Path("mlruns/1", run, "artifacts/a.txt") in files(folder)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["per%41cent", "Übung # 1"])
def test_a_renamed_folder_reads_and_writes_where_it_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = tmp_path / "old", tmp_path / name
    old.mkdir()
    run = run_with_a_file(enter(old, monkeypatch), "e")
    old.rename(new)
    client = enter(new, monkeypatch)
    assert f"moved or copied from {old}" in caplog.text
    assert [file.path for file in client.list_artifacts(run)] == ["a.txt"]
    client.log_text(run, "more", "b.txt")
    later = run_with_a_file(client, "e")
    assert Path("mlruns/1", later, "artifacts/a.txt") in files(new)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    caplog.clear()
    enter(new, monkeypatch)
    assert not caplog.text


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("Übung # 1", ()),
        # MLflow takes a local path for an address: it must be given a place of its own there.
        ("per%41cent", ("dst_path",)),
    ],
)
def test_a_registered_model_loads_from_where_the_folder_is(
    name: str, given: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / name
    old.mkdir()
    client = enter(old, monkeypatch)
    with mlflow.start_run(client.create_run(experiment_id(client, "e")).info.run_id):
        made = mlflow.pyfunc.log_model(
            name="model", python_model=Echo(), registered_model_name="m", pip_requirements=[]
        )
    assert made.registered_model_version == 1
    old.rename(new)
    enter(new, monkeypatch)
    place = {key: str(tmp_path) for key in given}
    assert mlflow.pyfunc.load_model("models:/m/1", **place).predict(["a"]) == ["a"]
    assert not [place for place in places(new / "mlflow.db") if "/old/" in place]
    assert not old.exists()


def test_a_copy_leaves_the_folder_it_was_made_of_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    run = run_with_a_file(enter(old, monkeypatch), "e")
    shutil.copytree(old, new)
    before = files(old)
    client = enter(new, monkeypatch)
    client.log_text(run, "more", "b.txt")
    assert files(old) == before
    assert Path("mlruns/1", run, "artifacts/b.txt") in files(new)


def test_a_store_that_several_folders_share_keeps_the_places_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    b.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/shared.db")
    monkeypatch.chdir(a)
    client = connect()
    run_with_a_file(client, "of a")
    # As a command in the other folder makes it.
    client.create_experiment("of b", artifact_location=str(b / "mlruns" / "2"))
    connect()
    assert not caplog.text
    moved = a.rename(tmp_path / "c")
    monkeypatch.chdir(moved)
    connect()
    assert f"lead to {moved}" in caplog.text
    assert any("/b/" in place for place in places(tmp_path / "shared.db"))


def test_a_place_that_is_not_of_mlflow_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = enter(tmp_path, monkeypatch)
    for number, place in enumerate(("s3://bucket/x", str(tmp_path / "elsewhere"))):
        client.create_experiment(f"e{number}", artifact_location=place)
    before = places(tmp_path / "mlflow.db")
    enter(tmp_path, monkeypatch)
    assert places(tmp_path / "mlflow.db") == before
