from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Run
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from requests.exceptions import RequestException

from cmir.config import trial_config
from cmir.errors import InputError, PlaceError
from cmir.runner.studies.records import Ending, TrialRecord
from cmir.runner.tracking.sweep_tracker import SweepTracker, answering, connect
from cmir.runner.tracking.trial_writer import MOST_FAILURES
from tests.support.small_promotion import open_store


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return open_store(tmp_path, monkeypatch)


def record(number: int, outcome: str = "finished") -> TrialRecord:
    ending = Ending(
        outcome="pruned" if outcome == "pruned" else "finished",
        objective=0.5,
        metrics={"ood_val/mae": 0.5, "ood_val/mae_std": 0.1},
        by_seed={"ood_val/mae": [0.4, 0.6]} if outcome == "finished" else {},
        curve={"ood_val/mae": [0.9, 0.7], "objective": [0.9, 0.7]},
        seconds=1.5,
    )
    config = trial_config({"environments.view": "swap"}, seeds=(0, 1))
    return TrialRecord(number, {"environments.view": "swap"}, config, ending, None, 10.0, 20.0)


def children(client: MlflowClient, tracker: SweepTracker) -> list[Run]:
    query = f"tags.`mlflow.parentRunId` = '{tracker.parent}'"
    return list(client.search_runs([tracker.experiment], query))


def test_a_trial_takes_four_calls(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = SweepTracker(client, "e", "s")
    calls = []

    def counted(name: str) -> Any:
        call = getattr(client, name)

        def count(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            return call(*arguments, **named)

        return count

    for name in dir(client):
        if not name.startswith("_") and callable(getattr(client, name)):
            monkeypatch.setattr(client, name, counted(name))
    tracker.write(record(0))
    assert tracker.flush() == 0
    assert calls == ["create_run", "log_artifacts", "log_batch", "set_terminated"]


def test_a_store_that_fails_for_a_while_costs_nothing(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = SweepTracker(client, "e", "s")
    create, calls = client.create_run, []

    def create_later(*arguments: object) -> Run:
        calls.append(arguments)
        if len(calls) == 1:
            raise ConnectionError("the server went away")
        return create(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(client, "create_run", create_later)
    tracker.write(record(0))
    assert tracker.flush() == 0
    assert len(children(client, tracker)) == 1


def test_a_store_that_cannot_be_opened_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/all.db")
    with pytest.raises(InputError, match=r"MLflow at sqlite:////dev/null/all.db does not answer"):
        connect()


def test_a_server_that_failed_is_left_in_peace_for_a_while(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = SweepTracker(client, "e", "s")
    create, asked, down = client.create_run, [], [True]

    def create_when_up(*arguments: object) -> Run:
        asked.append(arguments)
        if down[0]:
            raise ConnectionError("the server went away")
        return create(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(client, "create_run", create_when_up)
    for number in range(5):
        tracker.write(record(number))
    while not tracker.writer.waiting.empty():
        time.sleep(0.01)
    assert len(asked) == 1
    down[0] = False
    assert tracker.flush() == 0
    assert len(children(client, tracker)) == 5


def test_a_server_that_stays_away_is_not_asked_for_each_trial(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = SweepTracker(client, "e", "s")
    asked = []

    def away(*arguments: object) -> Run:
        asked.append(arguments)
        raise ConnectionError("the server went away")

    monkeypatch.setattr(client, "create_run", away)
    for number in range(9):
        tracker.write(record(number))
    assert tracker.flush() == 9
    assert len(asked) <= 1 + MOST_FAILURES


def test_one_trial_that_cannot_be_written_does_not_keep_back_the_others(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmir.runner.tracking.trial_writer.REST", 0.0)
    tracker = SweepTracker(client, "e", "s")
    log = client.log_batch

    def log_all_but_one(
        run: str, points: Sequence[Any] = (), params: Sequence[Any] = (), *tags: Any
    ) -> None:
        if any(param.value == "[7]" for param in params):
            raise ValueError("refused")
        log(run, points, params, *tags)

    monkeypatch.setattr(client, "log_batch", log_all_but_one)
    bad = record(0)
    tracker.write(replace(bad, config=bad.trial([7])))
    tracker.write(record(1))
    tracker.write(record(2))
    assert tracker.flush() == 1
    assert [tracker.run_of(number) is None for number in range(3)] == [True, False, False]


@pytest.mark.parametrize("lost", ["create_run", "set_terminated"])
def test_an_answer_that_was_lost_makes_no_second_run(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    tracker = SweepTracker(client, "e", "s")
    do, calls = getattr(client, lost), []

    def do_and_lose_the_first_answer(*arguments: object) -> object:
        done = do(*arguments)
        calls.append(arguments)
        if len(calls) == 1:
            raise ConnectionError("the server went away after it had done as told")
        return done

    monkeypatch.setattr(client, lost, do_and_lose_the_first_answer)
    tracker.write(record(0))
    assert tracker.flush() == 0
    (run,) = children(client, tracker)
    assert (run.info.status, run.data.tags["outcome"]) == ("FINISHED", "finished")
    assert len(client.get_metric_history(run.info.run_id, "ood_val/mae")) == 2


@pytest.mark.parametrize(
    "fault",
    [
        MlflowException("Max retries exceeded"),
        MlflowException("the database is gone", TEMPORARILY_UNAVAILABLE),
        RequestException("connection refused"),
    ],
)
def test_a_server_that_goes_away_is_told_in_one_sentence(
    client: MlflowClient, fault: Exception
) -> None:
    def ask() -> None:
        with answering(client):
            raise fault

    with pytest.raises(InputError, match=r"^MLflow at sqlite.* answers no longer: .*run the same"):
        ask()


def test_what_a_server_refuses_is_no_absence(client: MlflowClient) -> None:
    with pytest.raises(MlflowException, match="No Experiment"), answering(client):
        client.get_experiment("77")


def test_a_store_that_does_not_answer_begins_no_second_run(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = SweepTracker(client, "e", "s")

    def busy(run: str) -> Run:
        raise MlflowException("database is locked", error_code=TEMPORARILY_UNAVAILABLE)

    with monkeypatch.context() as patch:
        patch.setattr(client, "get_run", busy)
        with pytest.raises(MlflowException, match="locked"):
            SweepTracker(client, "e", "s", [tracker.parent])
    assert len(client.search_runs([tracker.experiment])) == 1


@pytest.mark.parametrize("words", ["database or disk is full", "No space left on device"])
def test_a_full_disk_stops_a_sweep_whose_runs_lie_on_it(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    tracker = SweepTracker(client, "e", "s")

    def fails(*arguments: Any, **named: Any) -> Any:
        raise MlflowException(f"(sqlite3.OperationalError) {words}")

    monkeypatch.setattr(client, "log_batch", fails)
    tracker.write(record(0))
    while tracker.writer.fault is None:
        time.sleep(0.01)
    with pytest.raises(PlaceError, match=rf"cannot be written: .*{words}.* make room"):
        tracker.write(record(1))
    monkeypatch.undo()
    assert tracker.flush() == 0
