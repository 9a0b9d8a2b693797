from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from cmir.errors import InputError
from cmir.sweep.records import Ending, TrialRecord
from cmir.sweep.tracking import SweepTracker, connect, dataset_input


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return connect()


def record(number: int, outcome: str = "finished") -> TrialRecord:
    ending = Ending(
        outcome="pruned" if outcome == "pruned" else "finished",
        objective=0.5,
        metrics={"ood_val/mae": 0.5, "ood_val/mae_std": 0.1},
        by_seed={"ood_val/mae": [0.4, 0.6]} if outcome == "finished" else {},
        curve={"ood_val/mae": [0.9, 0.7], "objective": [0.9, 0.7]},
        seconds=1.5,
    )
    config = {"environments.view": "swap", "seeds": [0, 1], "objective": "ood_val/mae"}
    return TrialRecord(number, {"environments.view": "swap"}, config, ending, None, 10.0, 20.0)


def children(client: MlflowClient, tracker: SweepTracker) -> list[Run]:
    query = f"tags.`mlflow.parentRunId` = '{tracker.parent}'"
    return list(client.search_runs([tracker.experiment], query))


def test_a_record_becomes_a_child_run_with_its_curve_and_kept_value(client: MlflowClient) -> None:
    tracker = SweepTracker(client, "e", "s", None)
    tracker.write(record(3))
    assert tracker.flush() == 0
    (run,) = children(client, tracker)
    assert run.data.tags["outcome"] == "finished"
    assert run.info.status == "FINISHED"
    assert run.data.params["environments.view"] == "swap"
    assert (run.info.start_time, run.info.end_time) == (10_000, 20_000)
    points = client.get_metric_history(run.info.run_id, "ood_val/mae")
    assert [(point.step, point.value) for point in points] == [(1, 0.9), (2, 0.7), (3, 0.5)]


def test_a_partition_is_shown_as_metrics_and_as_a_file(client: MlflowClient) -> None:
    plain = record(0, "pruned")
    table = {"scheme": "random", "environments": [{"size": 8}], "metrics": {"partition/p": 0.3}}
    tracker = SweepTracker(client, "e", "s", None)
    tracker.write(plain)
    tracker.write(replace(plain, number=1, ending=replace(plain.ending, partition=table)))
    assert tracker.flush() == 0
    without, shown = (tracker.run_of(number) or "" for number in (0, 1))
    assert client.get_run(shown).data.metrics["partition/p"] == 0.3
    assert "partition/p" not in client.get_run(without).data.metrics
    assert [file.path for file in client.list_artifacts(shown)] == ["partition.json"]
    assert client.list_artifacts(without) == []


def test_what_is_written_already_is_not_written_twice(client: MlflowClient) -> None:
    first = SweepTracker(client, "e", "s", None)
    first.write(record(0))
    first.flush()
    second = SweepTracker(client, "e", "s", first.parent)
    second.write_missing([record(0), record(1, "pruned")])
    second.flush()
    found = sorted(run.data.tags["trial"] for run in children(client, second))
    assert (second.parent, found) == (first.parent, ["0", "1"])


def test_a_run_that_was_cut_off_half_way_is_written_again(client: MlflowClient) -> None:
    first = SweepTracker(client, "e", "s", None)
    tags = {"mlflow.parentRunId": first.parent, "trial": "0"}
    client.create_run(first.experiment, tags=tags)
    second = SweepTracker(client, "e", "s", first.parent)
    second.write_missing([record(0)])
    assert second.flush() == 0
    assert second.run_of(0) is not None


def test_a_store_that_fails_for_a_while_costs_nothing(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = SweepTracker(client, "e", "s", None)
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


def test_ranks_are_those_of_the_last_publication(client: MlflowClient) -> None:
    tracker = SweepTracker(client, "e", "s", None)
    tracker.write(record(0))
    tracker.write(record(1))
    tracker.flush()
    runs = [tracker.run_of(0) or "", tracker.run_of(1) or ""]
    tracker.rank({runs[0]: 1, runs[1]: 2})
    tracker.rank({runs[1]: 1})
    ranks = {run.info.run_id: run.data.tags.get("rank") for run in children(client, tracker)}
    assert ranks == {runs[0]: None, runs[1]: "1"}


def test_a_sweep_is_described_with_its_data(client: MlflowClient, tmp_path: Path) -> None:
    tracker = SweepTracker(client, "e", "s", None)
    tracker.describe({"trials": 4}, {"a": "b"}, dataset_input("d", "c" * 64, tmp_path, {}))
    tracker.describe({"trials": 9}, {"a": "c"}, dataset_input("d", "c" * 64, tmp_path, {}))
    run = client.get_run(tracker.parent)
    assert (run.data.params["trials"], run.data.tags["a"]) == ("4", "c")
    assert run.inputs is not None
    assert [given.dataset.name for given in run.inputs.dataset_inputs] == ["d"]


def test_a_store_that_cannot_be_opened_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/all.db")
    with pytest.raises(InputError, match=r"MLflow at sqlite:////dev/null/all.db does not answer"):
        connect()
