"""Trials that train are in MLflow while they do, and whatever happens nothing is doubled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from cmir.config import trial_config
from cmir.runner.scheduling.hosts import Place
from cmir.runner.scheduling.trials_in_flight import TrialInFlight
from cmir.runner.scheduling.worker import WorkerReport
from cmir.runner.studies.records import TrialRecord
from cmir.runner.studies.study import AskedTrial
from cmir.runner.tracking.sweep_tracker import Live, SweepTracker
from tests.support.small_promotion import open_store

CONFIG = trial_config({"environments.view": "swap"}, seeds=(0, 1))
OFTEN = Live(0.05, {"kind": "trial"})


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return open_store(tmp_path, monkeypatch)


def training(number: int = 0, epochs: int = 0) -> TrialInFlight:
    trial = TrialInFlight(AskedTrial(number, CONFIG), Place(1))
    train(trial, epochs)
    return trial


def train(trial: TrialInFlight, epochs: int) -> None:
    for epoch in range(len(trial.times) + 1, len(trial.times) + epochs + 1):
        trial.note(WorkerReport(epoch, 1 / epoch, {"ood_val/mae": 1 / epoch}), 0.1)


def ended(trial: TrialInFlight) -> TrialRecord:
    """Its record, after one more epoch."""
    metrics = {"ood_val/mae": 0.5, "ood_val/mae_std": 0.1}
    told = {"outcome": "finished", "objective": 0.5, "metrics": metrics}
    trial.note(WorkerReport(len(trial.times) + 1, 0.5 + 1e-9, metrics, ending=told), 0.1)
    ending = trial.ended(told)
    return TrialRecord(trial.number, {}, CONFIG, ending, None, trial.began, time.time())


def children(client: MlflowClient, tracker: SweepTracker) -> list[Run]:
    query = f"tags.`mlflow.parentRunId` = '{tracker.parent}'"
    return list(client.search_runs([tracker.experiment], query))


def awaited(found: Callable[[], Any]) -> Any:
    """What is found sooner or later."""
    for _ in range(500):
        if value := found():
            return value
        time.sleep(0.02)
    pytest.fail("it was never found")


def history(client: MlflowClient, run: Run, key: str) -> list[tuple[int, float, int]]:
    points = client.get_metric_history(run.info.run_id, key)
    return sorted((point.step, point.value, point.timestamp) for point in points)


def test_a_trial_that_trains_has_a_run_whose_curves_grow(client: MlflowClient) -> None:
    tracker, trial = SweepTracker(client, "e", "s", live=OFTEN), training(epochs=1)
    tracker.begin(trial)
    (run,) = awaited(lambda: children(client, tracker))
    assert (run.info.status, run.info.start_time) == ("RUNNING", int(trial.began * 1000))
    assert "outcome" not in run.data.tags
    assert run.info.run_name == "000 swap"
    train(trial, 2)
    awaited(lambda: len(history(client, run, "ood_val/mae")) == 3)
    params = client.get_run(run.info.run_id).data.params
    assert params["environments.view"] == "swap"
    record = ended(trial)
    tracker.write(record)
    assert tracker.flush() == 0
    (done,) = children(client, tracker)
    assert (done.info.run_id, done.info.status) == (run.info.run_id, "FINISHED")
    stamps = [int((trial.began + seconds) * 1000) for seconds in trial.times]
    found = history(client, run, "ood_val/mae")
    assert [(step, when) for step, _, when in found] == list(zip((1, 2, 3, 4), stamps, strict=True))
    # The best so far ends in the kept value, with all its digits.
    assert history(client, run, "objective")[-1][1] == 0.5
    assert done.data.metrics["best/ood_val/mae"] == 0.5
    assert (done.data.tags["outcome"], done.data.tags["kind"]) == ("finished", "trial")


def test_a_trial_that_ends_at_once_is_written_once(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, trial = SweepTracker(client, "e", "s"), training(epochs=2)
    made: list[Any] = []
    create = client.create_run

    def count(*arguments: Any) -> Run:
        made.append(arguments)
        return create(*arguments)

    monkeypatch.setattr(client, "create_run", count)
    tracker.begin(trial)
    tracker.write(ended(trial))
    assert tracker.flush() == 0
    assert len(made) == 1
    assert made[0][2]["outcome"] == "finished"


def test_a_trial_that_begins_anew_has_one_run_with_its_last_curves(client: MlflowClient) -> None:
    tracker, first = SweepTracker(client, "e", "s", live=OFTEN), training(epochs=3)
    tracker.begin(first)
    (cut,) = awaited(lambda: children(client, tracker))
    tracker.let_go(0)
    time.sleep(0.01)
    again = training(epochs=1)
    tracker.begin(again)
    awaited(lambda: [r for r in children(client, tracker) if r.info.run_id != cut.info.run_id])
    tracker.write(ended(again))
    assert tracker.flush() == 0
    (run,) = children(client, tracker)
    assert run.info.run_id != cut.info.run_id
    assert [step for step, _, _ in history(client, run, "objective")] == [1, 2]
    assert client.get_run(cut.info.run_id).info.status == "KILLED"


@pytest.mark.parametrize("is_told", [True, False])
def test_after_a_kill_the_same_command_leaves_one_run_a_trial_and_none_that_runs(
    client: MlflowClient, is_told: bool
) -> None:
    """The study has, or has not, been told how a trial ended when the driver was killed."""
    killed, trial = SweepTracker(client, "e", "s", live=OFTEN), training(epochs=2)
    killed.begin(trial)
    (cut,) = awaited(lambda: children(client, killed))
    awaited(lambda: history(client, cut, "objective"))
    killed.let_go(0)  # As if its thread were gone.
    tracker = SweepTracker(client, "e", "s", [killed.parent], live=OFTEN)
    assert client.get_run(tracker.parent).info.status == "RUNNING"
    time.sleep(0.01)
    last = trial if is_told else training(epochs=3)
    if not is_told:
        tracker.begin(last)
        awaited(lambda: client.get_run(cut.info.run_id).info.status == "KILLED")
    tracker.write(ended(last))
    assert tracker.flush() == 0
    (run,) = children(client, tracker)
    assert (run.info.run_id == cut.info.run_id, run.info.status) == (is_told, "FINISHED")
    assert len(history(client, run, "objective")) == len(last.times)
    assert client.get_run(cut.info.run_id).info.status != "RUNNING"


def test_an_interrupted_trial_is_killed_and_its_next_run_takes_its_place(
    client: MlflowClient,
) -> None:
    tracker, trial = SweepTracker(client, "e", "s", live=OFTEN), training(epochs=1)
    tracker.begin(trial)
    awaited(lambda: children(client, tracker))
    assert tracker.flush() == 0
    assert [run.info.status for run in children(client, tracker)] == ["KILLED"]
    time.sleep(0.01)
    again, anew = SweepTracker(client, "e", "s", [tracker.parent]), training(epochs=2)
    again.write(ended(anew))
    assert again.flush() == 0
    (run,) = children(client, again)
    assert (run.info.status, len(history(client, run, "objective"))) == ("FINISHED", 3)


def test_a_server_that_hangs_holds_up_no_trial(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = threading.Event(), threading.Event()
    create = client.create_run

    def hang(*arguments: Any) -> Run:
        asked.set()
        assert answers.wait(60)
        return create(*arguments)

    tracker, trial = SweepTracker(client, "e", "s", live=OFTEN), training(epochs=1)
    monkeypatch.setattr(client, "create_run", hang)
    tracker.begin(trial)
    assert asked.wait(60)
    # The driver goes on while the writer waits: all this returns.
    train(trial, 5)
    tracker.write(ended(trial))
    for number in range(1, 20):
        other = training(number, epochs=1)
        tracker.begin(other)
        tracker.write(ended(other))
    answers.set()
    assert tracker.flush() == 0
    assert len(children(client, tracker)) == 20


@pytest.mark.parametrize("lost", ["create_run", "log_batch"])
def test_an_answer_that_is_lost_while_a_trial_trains_doubles_nothing(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setattr("cmir.runner.tracking.trial_writer.REST", 0.0)
    tracker, trial = SweepTracker(client, "e", "s", live=OFTEN), training(epochs=1)
    do, calls = getattr(client, lost), []

    def do_and_lose_the_first_answer(*arguments: Any, **named: Any) -> Any:
        done = do(*arguments, **named)
        calls.append(arguments)
        if len(calls) == 1:
            raise ConnectionError("the server went away after it had done as told")
        return done

    monkeypatch.setattr(client, lost, do_and_lose_the_first_answer)
    tracker.begin(trial)
    awaited(lambda: [r for r in children(client, tracker) if r.data.metrics])
    tracker.write(ended(trial))
    assert tracker.flush() == 0
    (run,) = children(client, tracker)
    assert (run.info.status, len(history(client, run, "objective"))) == ("FINISHED", 2)


def test_the_sweep_shows_how_far_it_is_and_how_busy_its_host(client: MlflowClient) -> None:
    pytest.importorskip("ray")
    seen: list[int] = []
    live = Live(0.05, page=lambda tracker, records: seen.append(len(records)))
    tracker = SweepTracker(client, "e", "s", live=live)
    tracker._next_page = 0.0
    done, trial = training(0, epochs=1), training(1, epochs=1)
    tracker.begin(done)
    tracker.write(ended(done))
    tracker.begin(trial)

    def parent() -> dict[str, float]:
        return dict(client.get_run(tracker.parent).data.metrics)

    awaited(lambda: "system/cpu_utilization_percentage" in parent())
    shown = awaited(lambda: parent() if "trials/finished" in parent() else None)
    assert (shown["trials/finished"], shown["best/objective"]) == (1.0, 0.5)
    awaited(lambda: seen)
    tracker.write(ended(trial))
    assert tracker.flush() == 0
    again = SweepTracker(client, "e", "s", [tracker.parent])
    again.write_missing([ended(done), ended(trial)])
    assert again.flush() == 0
    parent_run = client.get_run(tracker.parent)
    counted = history(client, parent_run, "trials/finished")
    assert [(step, value) for step, value, _ in counted] == [(1, 1.0), (2, 2.0)]
