"""Trials written into MLflow's tables are those that its client would have written."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from cmir.config import trial_config
from cmir.runner.records import Ending, TrialRecord
from cmir.runner.tracking.client_runs import ClientRuns
from cmir.runner.tracking.run_tables import RunTables, tables_of
from cmir.runner.tracking.sweep_tracker import SweepTracker
from tests.support.small_promotion import open_store

CURVE = {"objective": [0.9, 0.7, 0.8], "train/corr": [math.nan, 0.2, math.inf]}
PARTITION = {"scheme": "random", "metrics": {"partition/p": 0.3}}
METRICS = {"ood_val/mae": 0.7, "train/corr": -math.inf, "train/loss": math.nan}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return open_store(tmp_path, monkeypatch)


def record(number: int, **changes: Any) -> TrialRecord:
    ending = Ending(
        "finished", 0.7, METRICS, {"ood_val/mae": [0.6, 0.8]}, (2, 3), CURVE, 1.5, "", PARTITION
    )
    settings = {"environments.view": "swap", "model.hidden_size": 48}
    config = trial_config(settings, seeds=(0, 1))
    ending = replace(ending, **changes)
    return TrialRecord(number, {"environments.view": "swap"}, config, ending, None, 10.0, 20.5)


ENDED = [
    record(0),
    record(1, outcome="pruned", by_seed={}, best_epochs=(), partition={}),
    record(2, outcome="diverged", objective=None, metrics={}, by_seed={}, reason="x" * 900),
    replace(record(3, outcome="failed", objective=None, metrics={}, curve={}), retry_of=2),
]


def shown(client: MlflowClient, run: Run) -> dict[str, Any]:
    """All that MLflow tells about a run but its id."""
    own = run.info.run_id
    info = {k: str(v).replace(own, "ID") for k, v in dict(run.info).items()}
    files = {file.path: file.file_size for file in client.list_artifacts(own)}
    points = {
        key: [(p.step, str(p.value), p.timestamp) for p in client.get_metric_history(own, key)]
        for key in run.data.metrics
    }
    metrics = {key: str(value) for key, value in run.data.metrics.items()}
    return {
        "info": info,
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items()},
        "metrics": metrics,
        "points": points,
        "files": files,
    }


def test_a_run_is_the_one_that_the_client_would_have_made(client: MlflowClient) -> None:
    tracker = SweepTracker(client, "e", "s", None)
    by_client = ClientRuns(client, tracker.experiment, tracker.parent)
    tables = tables_of(client, tracker.experiment, tracker.parent)
    assert tables is not None
    runs = tables.write(ENDED)
    for one in ENDED:
        slow = by_client.begin(one)
        by_client.fill(slow, one)
        expected, found = (client.get_run(run) for run in (slow, runs[one.number]))
        assert shown(client, found) == shown(client, expected)


def test_files_hold_the_tables(client: MlflowClient, tmp_path: Path) -> None:
    tracker = SweepTracker(client, "e", "s", None)
    tracker.write(ENDED[0])
    tracker.flush()
    run = tracker.run_of(0) or ""
    path = client.download_artifacts(run, "by_seed.json", str(tmp_path))
    assert json.loads(Path(path).read_text()) == {"ood_val/mae": [0.6, 0.8]}


def test_many_trials_take_few_transactions(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = SweepTracker(client, "e", "s", None)
    write, sizes = RunTables.write, []

    def counted(tables: RunTables, records: Any) -> dict[int, str]:
        sizes.append(len(records))
        return write(tables, records)

    monkeypatch.setattr(RunTables, "write", counted)
    for number in range(120):
        tracker.write(record(number))
    assert tracker.flush() == 0
    assert sum(sizes) == 120
    assert len(sizes) < 30
    found = {
        one.trial: one.run for one in ClientRuns(client, tracker.experiment, tracker.parent).find()
    }
    assert found == {number: tracker.run_of(number) for number in range(120)}


def test_what_the_tables_tell_is_what_the_client_finds(client: MlflowClient) -> None:
    tracker = SweepTracker(client, "e", "s", None)
    for one in ENDED:
        tracker.write(one)
    tracker.flush()
    by_client = ClientRuns(client, tracker.experiment, tracker.parent)
    cut_off = by_client.begin(record(4))
    client.delete_run(by_client.begin(record(5)))
    tables = tables_of(client, tracker.experiment, tracker.parent)
    assert tables is not None
    found = sorted(tables.find(), key=lambda one: one.trial)
    assert found == sorted(by_client.find(), key=lambda one: one.trial)
    assert [one.is_whole for one in found] == [True] * 4 + [False]
    assert found[-1].run == cut_off


def test_a_run_that_was_cut_off_is_filled(client: MlflowClient) -> None:
    first = SweepTracker(client, "e", "s", None)
    run = ClientRuns(client, first.experiment, first.parent).begin(record(0))
    second = SweepTracker(client, "e", "s", first.parent)
    second.write_missing([record(0), record(1)])
    assert second.flush() == 0
    assert second.run_of(0) == run
    assert client.get_run(run).info.status == "FINISHED"


def test_a_database_that_refuses_many_is_asked_for_one_at_a_time(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = SweepTracker(client, "e", "s", None)

    def refuse(tables: RunTables, records: Any) -> None:
        raise ValueError("no such column")

    monkeypatch.setattr(RunTables, "write", refuse)
    for one in ENDED:
        tracker.write(one)
    assert tracker.flush() == 0
    assert client.get_run(tracker.run_of(3) or "").data.tags["retry_of"] == "2"


def test_a_transaction_whose_answer_was_lost_makes_no_second_run(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = SweepTracker(client, "e", "s", None)
    write, sizes = RunTables.write, []

    def write_and_lose_the_first_answer(tables: RunTables, records: Any) -> dict[int, str]:
        runs = write(tables, records)
        sizes.append(len(records))
        if len(sizes) == 1:
            raise ConnectionError("the database went away after it had done as told")
        return runs

    monkeypatch.setattr(RunTables, "write", write_and_lose_the_first_answer)
    tracker._backlog += [record(number) for number in range(8)]
    assert tracker.flush() == 0
    assert sizes == [8]
    runs = list(ClientRuns(client, tracker.experiment, tracker.parent).find())
    assert {one.trial: one.run for one in runs} == {n: tracker.run_of(n) for n in range(8)}


def test_a_transaction_writes_all_or_nothing(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = SweepTracker(client, "e", "s", None)
    tables = tables_of(client, tracker.experiment, tracker.parent)
    assert tables is not None
    with pytest.raises(Exception, match="UNIQUE"):
        tables.write([record(0), record(1), record(0)])
    assert tables.find() == []


def test_a_server_has_no_tables_to_write() -> None:
    assert tables_of(MlflowClient("http://127.0.0.1:1"), "0", "p") is None
