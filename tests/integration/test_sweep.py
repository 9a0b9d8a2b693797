"""Whole sweeps through Ray Tune, Optuna and MLflow, small but real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from cmir.errors import InputError
from cmir.runner.paths import Paths
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.runner.scheduling.worker import CmirTrial, WorkerReport
from cmir.runner.studies.storage import journal_storage
from cmir.runner.studies.study import records_of
from cmir.sweep.run_sweep import SweepOutcome, SweepRequest, SweepStart, run_sweep
from tests.support.small_sweep import SMALL, working_in, write_data, write_space

ROOT = Path(__file__).resolve().parents[2]
DIVERGING, RAISING, DYING = 1e30, 0.5, 0.25


def quiet(start: SweepStart) -> Progress:
    return Progress()


def fragile() -> type[CmirTrial]:
    """A trainable that fails for two learning rates; local, so that workers get it by value."""

    class Fragile(CmirTrial):
        def setup(self, config: dict[str, Any]) -> None:
            rate = config["trial"].training.learning_rate
            self._is_to_die, self._is_to_raise = rate == DYING, rate == RAISING
            super().setup(config)

        def step(self) -> dict[str, Any]:
            if self._is_to_die:
                os._exit(1)
            return super().step()

        def _epoch(self) -> WorkerReport:
            if self._is_to_raise:
                raise RuntimeError("planted")
            return super()._epoch()

    return Fragile


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with data in which MLflow's default store would be."""
    with working_in(tmp_path_factory.mktemp("sweep")) as folder:
        yield folder


@pytest.fixture(scope="module")
def outcome(folder: Path) -> SweepOutcome:
    """Four trials: one finishes, one diverges, one raises and one dies."""
    rates = [0.002, DIVERGING, RAISING, DYING]
    path = write_space(
        folder,
        name="fragile",
        search={"training.learning_rate": rates},
        start_from=[{"training.learning_rate": rate} for rate in rates],
    )
    request = SweepRequest(path, {}, Placement(2), trainable=fragile())
    return run_sweep(request, Paths(), quiet)


@pytest.mark.slow
def test_outcomes_are_told_apart_and_exceptions_are_tried_once_more(outcome: SweepOutcome) -> None:
    assert outcome.is_complete
    found = Counter(record.outcome for record in outcome.records)
    assert found == {"finished": 1, "diverged": 1, "failed": 3}
    retries = [record.retry_of for record in outcome.records if record.retry_of is not None]
    assert len(retries) == 1
    # A process that died was tried again under its number.
    assert sum(record.ending.is_final for record in outcome.records) == 1


@pytest.mark.slow
def test_reasons_name_what_happened(outcome: SweepOutcome) -> None:
    reasons = " ".join(record.ending.reason for record in outcome.records)
    assert "non-finite in epoch 1" in reasons
    assert "RuntimeError" in reasons
    assert "its worker process died" in reasons


@pytest.mark.slow
def test_mlflow_shows_parent_children_curves_and_models(outcome: SweepOutcome) -> None:
    client = MlflowClient()
    experiment = client.get_experiment_by_name("fragile")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert Counter(run.data.tags["outcome"] for run in children) == {
        "finished": 1,
        "diverged": 1,
        "failed": 3,
    }
    assert parent.inputs is not None
    assert parent.inputs.dataset_inputs[0].dataset.name == "synthetic"
    assert {"git.commit", "version.torch", "data.checksum"} <= set(parent.data.tags)
    shown = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"leaderboard.parquet", "modalities.json", "modalities.png", "space"} <= shown
    best = next(run for run in children if run.data.tags.get("rank") == "1")
    history = client.get_metric_history(best.info.run_id, "ood_val/mae")
    assert [point.step for point in history] == [1, 2, 3]
    assert best.info.start_time < history[0].timestamp < history[2].timestamp
    assert history[2].timestamp <= best.info.end_time
    assert {run.data.tags["kind"] for run in children} == {"trial"}
    assert (parent.data.tags["kind"], parent.data.metrics["trials/failed"]) == ("sweep", 3.0)
    assert best.data.params["training.learning_rate"] == "0.002"
    (made,) = client.search_logged_models([experiment.experiment_id])
    assert (made.source_run_id, made.status) == (best.info.run_id, "READY")
    asked = mlflow.pyfunc.load_model(made.model_uri)
    assert len(asked.predict(asked.input_example)) == 2


@pytest.mark.slow
def test_the_kept_value_is_a_metric_of_its_own(outcome: SweepOutcome) -> None:
    client = MlflowClient()
    experiment = client.get_experiment_by_name("fragile")
    assert experiment is not None
    best = client.search_runs([experiment.experiment_id], "tags.rank = '1'")[0]
    record = next(record for record in outcome.records if record.outcome == "finished")
    assert best.data.metrics["best/ood_val/mae"] == pytest.approx(record.objective)
    assert best.data.metrics["best/objective"] == pytest.approx(record.objective)


@pytest.mark.slow
def test_the_same_command_again_runs_nothing_and_a_larger_budget_goes_on(
    folder: Path, outcome: SweepOutcome
) -> None:
    request = SweepRequest(folder / "small.yaml", {}, trainable=fragile())
    again = run_sweep(request, Paths(), quiet)
    assert len(again.records) == len(outcome.records)
    # Ray Tune's own handler would swallow the next Ctrl-C.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_the_partition_of_a_trial_is_shown_also_where_it_was_pruned(tmp_path: Path) -> None:
    write_data(tmp_path / "data" / "small")
    path = write_space(
        tmp_path,
        trials=4,
        epochs=6,
        seeds=1,
        search={
            "environments.partition": ["oracle", "error", "label_kmeans", "none"],
            "environments.groups": {
                "low": 2,
                "high": 2,
                "when": {"environments.partition": ["label_kmeans"]},
            },
            "training.learning_rate": [0.01, 1e-7],
        },
        start_from=[
            {"environments.partition": "oracle", "training.learning_rate": 0.01},
            {"environments.partition": "error", "training.learning_rate": 1e-7},
            {
                "environments.partition": "label_kmeans",
                "environments.groups": 2,
                "training.learning_rate": 1e-7,
            },
            {"environments.partition": "none", "training.learning_rate": 0.01},
        ],
        early_stopping={"grace": 1, "reduction": 2},
    )
    done = run_command(tmp_path, path, concurrency="1")
    assert done.returncode == 0, done.stdout + done.stderr
    records = records_of(journal_storage(tmp_path / "mlruns/studies/small.journal"), "small")
    oracle, error, clusters, none = records
    assert (oracle.outcome, error.outcome) == ("finished", "pruned")
    assert [len(r.ending.partition["environments"]) for r in (oracle, error, clusters)] == [3, 2, 2]
    assert none.ending.partition == {}
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.trial = '1'")
    assert run.data.metrics["partition/smallest"] == 16
    # One reference and one clustering, made before the workers began and read by them.
    assert len(list((tmp_path / "mlruns" / "partitions").iterdir())) == 2


@pytest.mark.slow
def test_another_driver_is_kept_away(folder: Path) -> None:
    paths = Paths()
    paths.make()
    path = write_space(folder, name="locked")
    with paths.lock("locked"), pytest.raises(InputError, match="is running already, in process"):
        run_sweep(SweepRequest(path, {}), paths, quiet)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_changing_every_held_out_label_changes_no_trial(tmp_path: Path) -> None:
    import polars as pl

    objectives = []
    for shift in (0.0, 1.0):
        place = tmp_path / str(shift)
        data = write_data(place / "data" / "small")
        table = pl.read_parquet(data / "samples.parquet")
        heldout = pl.col("split").is_in(["id_test", "ood_test"])
        label = pl.when(heldout).then(pl.col("label") - shift).otherwise(pl.col("label"))
        table.with_columns(label.cast(pl.Float32)).write_parquet(data / "samples.parquet")
        done = run_command(place, write_space(place, trials=2), concurrency="1")
        assert done.returncode == 0, done.stdout + done.stderr
        storage = journal_storage(place / "mlruns" / "studies" / "small.journal")
        objectives.append([r.ending.by_seed for r in records_of(storage, "small")])
    assert objectives[0] == objectives[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_that_is_stopped_and_continued_has_exactly_its_budget(tmp_path: Path) -> None:
    write_data(tmp_path / "data" / "small")
    path = write_space(tmp_path, trials=8, epochs=40)
    journal = tmp_path / "mlruns" / "studies" / "small.journal"
    before: dict[int, Any] = {}
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        stop_half_way(path, journal, len(before) + 1, number)
        kept = {r.number: r.ending.by_seed for r in records_of(journal_storage(journal), "small")}
        assert {number: kept[number] for number in before} == before
        assert len(before) < len(kept) < 8
        before = kept
    done = run_command(tmp_path, path, "2")
    assert done.returncode == 0, done.stdout + done.stderr
    records = records_of(journal_storage(journal), "small")
    assert sorted(record.number for record in records) == list(range(8))
    assert all(record.outcome == "finished" for record in records)
    assert {r.number: r.ending.by_seed for r in records if r.number in before} == before
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.outcome = 'finished'")
    assert sorted(int(run.data.tags["trial"]) for run in runs) == list(range(8))


def stop_half_way(space: Path, journal: Path, endings: int, number: signal.Signals) -> None:
    """Runs or continues a sweep, and ends it by a signal once so many trials have ended."""
    driver = subprocess.Popen(
        command(space, "2"),
        cwd=space.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_endings(journal, endings)
    driver.send_signal(number)
    code = driver.wait(timeout=90)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 130)


def command(path: Path, concurrency: str) -> list[str]:
    script = str(ROOT / "workflows" / "sweep.py")
    return [sys.executable, script, "--space", str(path), "--concurrency", concurrency]


def run_command(
    folder: Path, path: Path, concurrency: str, *more: str
) -> subprocess.CompletedProcess[str]:
    words = [*command(path, concurrency), *more]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=400)


def wait_for_endings(journal: Path, count: int) -> None:
    for _ in range(2400):
        if journal.exists() and journal.read_text().count("ending") >= count:
            return
        time.sleep(0.1)
    pytest.fail(f"{journal} does not hold {count} endings after 4 minutes")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trails": 3}, "trails is not a known key. Did you mean 'trials'"),
        ({"data": {"path": "data/nothing"}}, "there is no"),
        ({"objective": "ood_val/accurracy"}, "objective must be one of"),
        ({"search": {"environments.partition": ["none", "room"]}, "start_from": []}, "partition"),
    ],
)
def test_bad_input_ends_with_two_and_one_message(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_data(tmp_path / "data" / "small")
    done = run_command(tmp_path, write_space(tmp_path, **(SMALL | changes)), concurrency="1")
    assert done.returncode == 2
    assert message in done.stderr, "whatever the width of the terminal"
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "mlruns" / "studies" / "small.journal").exists()


def test_an_mlflow_server_that_does_not_answer_is_bad_input(tmp_path: Path) -> None:
    write_data(tmp_path / "data" / "small")
    done = subprocess.run(
        command(write_space(tmp_path), "1"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
    )
    assert done.returncode == 2
    assert "MLflow at http://127.0.0.1:9 does not answer" in done.stderr
    assert "Traceback" not in done.stderr
