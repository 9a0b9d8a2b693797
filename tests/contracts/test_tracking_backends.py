"""What every tracking backend does for a sweep: an sqlite file, a server, one over PostgreSQL."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from benchmarks.support.model_server import end, free_port, start_tracking_server
from cmir.config import trial_config
from cmir.runner.studies.records import Ending, TrialRecord
from cmir.runner.tracking.sweep_tracker import Live, SweepTracker, connect, dataset_input
from tests.support.small_postgres import postgres

LARGEST = 1.7976931348623157e308
CURVE = {"objective": [0.9, 0.7, 0.8], "train/corr": [math.nan, 0.2, math.inf]}
METRICS = {"ood_val/mae": 0.7, "train/corr": -math.inf, "train/loss": math.nan}
PARTITION = {"scheme": "random", "metrics": {"partition/p": 0.3}}
CONFIG = trial_config({"environments.view": "swap", "model.hidden_size": 48}, seeds=(0, 1))
FINISHED = Ending(
    "finished",
    0.7,
    METRICS,
    {"ood_val/mae": [0.6, 0.8]},
    (2, 3),
    CURVE,
    1.5,
    partition=PARTITION,
    times=(2.5, 4.0, 10.5),
    began=10.0,
)
RECORD = TrialRecord(0, {"environments.view": "swap"}, CONFIG, FINISHED, None, 10.0, 20.5)
TRACEBACK = "Traceback (most recent call last):\n  ...\nRuntimeError: planted\n"
ENDED = [
    RECORD,
    replace(RECORD, number=1, ending=Ending("pruned", 0.8, METRICS, curve=CURVE)),
    replace(RECORD, number=2, ending=Ending("diverged", reason="x" * 900)),
    replace(RECORD, number=3, ending=Ending("failed", traceback=TRACEBACK), retry_of=2),
]
NAMES = (f"experiment {number}" for number in count())


@pytest.fixture(
    scope="module",
    params=[
        "sqlite",
        pytest.param("server", marks=pytest.mark.slow),
        pytest.param("postgresql", marks=pytest.mark.slow),
    ],
)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a backend."""
    folder = tmp_path_factory.mktemp("tracking")
    file = f"sqlite:///{folder}/mlflow.db"
    if request.param == "sqlite":
        yield file
    elif request.param == "server":
        yield from served(file, folder)
    else:
        with postgres("runs") as addresses:
            yield from served(addresses["runs"], folder)


def served(database: str, folder: Path) -> Iterator[str]:
    port = free_port()
    server = start_tracking_server(database, folder / "artifacts", port, folder / "log")
    yield f"http://127.0.0.1:{port}"
    end(server)


@pytest.fixture
def client(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    return connect()


@pytest.fixture
def tracker(client: MlflowClient) -> SweepTracker:
    """Of a sweep that begins, in an experiment of its own."""
    return SweepTracker(client, next(NAMES), "s")


def written(tracker: SweepTracker, records: list[TrialRecord] = ENDED) -> SweepTracker:
    for record in records:
        tracker.write(record)
    assert tracker.flush() == 0
    return tracker


def children(client: MlflowClient, tracker: SweepTracker) -> dict[int, Run]:
    query = f"tags.`mlflow.parentRunId` = '{tracker.parent}'"
    found = list(client.search_runs([tracker.experiment], query))
    runs = {int(run.data.tags["trial"]): run for run in found}
    assert len(runs) == len(found)
    return runs


def test_every_ending_becomes_a_run_that_has_ended(
    client: MlflowClient, tracker: SweepTracker
) -> None:
    runs = children(client, written(tracker))
    assert [runs[n].info.status for n in range(4)] == ["FINISHED", "FINISHED", "FAILED", "FAILED"]
    shown = [runs[number].data.tags["outcome"] for number in range(4)]
    assert shown == ["finished", "pruned", "diverged", "failed"]
    assert {(run.info.start_time, run.info.end_time) for run in runs.values()} == {(10_000, 20_500)}
    assert runs[0].info.run_name == "000 swap"
    params = {key: str(value) for key, value in CONFIG.flat().items()}
    assert runs[0].data.params == {**params, "seeds": "[0, 1]", "model.modalities": "[]"}
    tags = runs[0].data.tags
    assert (tags["scheme"], tags["best_epochs"]) == ("swap", "[2, 3]")
    assert runs[2].data.tags["reason"] == "x" * 500
    assert runs[3].data.tags["retry_of"] == "2"
    assert {n: tracker.run_of(n) for n in range(4)} == {n: r.info.run_id for n, r in runs.items()}


def everything(run: Run) -> str:
    """As text, in which not-a-number is itself."""
    return json.dumps(run.to_dictionary(), sort_keys=True)


def points(client: MlflowClient, run: str, key: str) -> list[tuple[int, str, int]]:
    history = client.get_metric_history(run, key)
    return sorted((point.step, str(point.value), point.timestamp) for point in history)


def test_curves_and_kept_values_are_points_of_metrics(
    client: MlflowClient, tracker: SweepTracker
) -> None:
    run = children(client, written(tracker, [RECORD]))[0]
    own = run.info.run_id
    assert points(client, own, "objective") == [
        (1, "0.9", 12_500),
        (2, "0.7", 14_000),
        (3, "0.7", 20_500),
    ]
    assert points(client, own, "best/objective") == [(3, "0.7", 20_500)]
    found = [value for _, value, _ in points(client, own, "train/corr")]
    assert found == ["nan", "0.2", str(LARGEST)]
    assert math.isnan(run.data.metrics.pop("train/loss"))
    latest = {"objective": 0.7, "ood_val/mae": 0.7, "train/corr": LARGEST, "seconds": 1.5}
    kept = {"best/objective": 0.7, "best/train/corr": -LARGEST, "partition/p": 0.3}
    assert run.data.metrics == latest | kept
    query = "metrics.`ood_val/mae` < 0.71 and params.`environments.view` = 'swap'"
    assert [r.info.run_id for r in client.search_runs([tracker.experiment], query)] == [own]


def test_tables_are_files_of_the_run(
    client: MlflowClient, tracker: SweepTracker, tmp_path: Path
) -> None:
    runs = children(client, written(tracker))
    files = {n: [f.path for f in client.list_artifacts(r.info.run_id)] for n, r in runs.items()}
    assert files == {0: ["by_seed.json", "partition.json"], 1: [], 2: [], 3: ["traceback.txt"]}
    own = runs[0].info.run_id
    path = Path(client.download_artifacts(own, "by_seed.json", str(tmp_path)))
    assert json.loads(path.read_text()) == {"ood_val/mae": [0.6, 0.8]}


def test_a_continued_sweep_writes_what_is_missing_alone(
    client: MlflowClient, tracker: SweepTracker
) -> None:
    before = children(client, written(tracker, ENDED[:2]))
    cut = client.create_run(
        tracker.experiment,
        10_000,
        {"mlflow.parentRunId": tracker.parent, "trial": "2", "outcome": "diverged"},
    )
    name = client.get_experiment(tracker.experiment).name
    again = SweepTracker(client, name, "s", [tracker.parent])
    again.write_missing(ENDED)
    assert again.flush() == 0
    after = children(client, again)
    assert sorted(after) == [0, 1, 2, 3]
    assert {n: everything(after[n]) for n in before} == {n: everything(before[n]) for n in before}
    assert (after[2].info.run_id, after[2].info.status) == (cut.info.run_id, "FAILED")
    assert again.run_of(1) == before[1].info.run_id


@pytest.mark.parametrize("kind", ["trial", "arm"])
def test_a_promotion_beside_the_trials_is_left_in_peace_and_nothing_doubled(
    client: MlflowClient, kind: str
) -> None:
    name, live = next(NAMES), Live(tags={"kind": kind})
    first = SweepTracker(client, name, "s", live=live)
    before = children(client, written(first, ENDED[:2]))
    known = {"mlflow.parentRunId": first.parent, "trial": "0", "rule": "ood_val"}
    promoted = client.create_run(first.experiment, 10_000, known).info.run_id
    client.set_terminated(promoted)
    again = SweepTracker(client, name, "s", [first.parent], live=live)
    again.write_missing(ENDED[:2])
    assert again.flush() == 0
    assert client.get_run(promoted).info.lifecycle_stage == "active"
    client.delete_run(promoted)
    after = children(client, again)
    assert {n: run.info.run_id for n, run in after.items()} == {
        n: run.info.run_id for n, run in before.items()
    }


def test_a_run_that_was_cut_off_at_its_end_is_filled_without_doubles(
    client: MlflowClient, tracker: SweepTracker
) -> None:
    run = children(client, written(tracker, [RECORD]))[0]
    own, expected = run.info.run_id, points(client, run.info.run_id, "objective")
    client.update_run(own, status="RUNNING")
    name = client.get_experiment(tracker.experiment).name
    written(SweepTracker(client, name, "s", [tracker.parent]), [RECORD])
    again = children(client, tracker)[0]
    assert (again.info.run_id, again.info.status) == (own, "FINISHED")
    assert points(client, own, "objective") == expected
    assert str(again.data.metrics) == str(run.data.metrics)


def test_ranks_are_those_of_the_last_publication(
    client: MlflowClient, tracker: SweepTracker
) -> None:
    written(tracker, ENDED[:2])
    first, second = tracker.run_of(0) or "", tracker.run_of(1) or ""
    tracker.rank({first: 1, second: 2})
    tracker.rank({second: 1})
    ranks = {n: run.data.tags.get("rank") for n, run in children(client, tracker).items()}
    assert ranks == {0: None, 1: "1"}


def test_a_sweep_is_described_shown_and_closed(
    client: MlflowClient, tracker: SweepTracker, tmp_path: Path
) -> None:
    dataset = dataset_input("d", "c" * 64, str(tmp_path), {})
    tracker.describe({"trials": 4}, {"a": "b"}, dataset)
    tracker.describe({"trials": 9}, {"a": "c"}, dataset)
    (tmp_path / "table.csv").write_text("a,b\n")
    tracker.attach(tmp_path / "table.csv", "tables")
    tracker.show("**best**", {"best/ood_val/mae": 4.0})
    tracker.flush()
    tracker.close(complete=False)
    run = client.get_run(tracker.parent)
    assert (run.data.params["trials"], run.data.tags["a"]) == ("4", "c")
    assert (run.data.tags["mlflow.note.content"], run.info.status) == ("**best**", "KILLED")
    assert run.data.metrics == {"best/ood_val/mae": 4.0}
    assert [f.path for f in client.list_artifacts(tracker.parent, "tables")] == ["tables/table.csv"]
    assert run.inputs is not None
    assert [given.dataset.name for given in run.inputs.dataset_inputs] == ["d"]


def test_a_run_is_found_by_its_study_where_its_answer_was_lost(client: MlflowClient) -> None:
    name = next(NAMES)
    first = SweepTracker(client, name, "s", key="of one study")
    assert SweepTracker(client, name, "s", key="of one study").parent == first.parent
    assert SweepTracker(
        client, name, "s", ["0" * 32, "of an older one"], "of one study"
    ).parent == (first.parent)
    assert SweepTracker(client, name, "s", key="of another").parent != first.parent


def test_of_two_runs_that_one_question_made_one_is_left(
    client: MlflowClient, tracker: SweepTracker
) -> None:
    tags = {"mlflow.parentRunId": tracker.parent, "trial": "0", "outcome": "finished"}
    for _ in range(2):
        client.create_run(tracker.experiment, 10_000, tags)
    name = client.get_experiment(tracker.experiment).name
    again = written(SweepTracker(client, name, "s", [tracker.parent]), [RECORD])
    runs = client.search_runs([tracker.experiment], "tags.trial = '0'")
    assert [(run.info.run_id, run.info.status) for run in runs] == [(again.run_of(0), "FINISHED")]
