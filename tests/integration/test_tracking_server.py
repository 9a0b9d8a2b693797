"""The whole path over an `mlflow server` and PostgreSQL, and a server that goes away on the way."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from benchmarks.support.model_server import (
    end,
    free_port,
    model_server,
    post,
    start_tracking_server,
)
from cmir.commands import predict_command as predict
from cmir.commands import promote_command
from cmir.data import load_dataset
from cmir.errors import InputError
from cmir.promotion.promotion import promote
from cmir.promotion.promotion_plan import PromotionRequest, plan_promotion
from cmir.promotion.trainings import LocalTrainings
from cmir.runner.paths import Paths
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.runner.studies.records import TrialRecord
from cmir.runner.tracking.sweep_tracker import answering, connect
from cmir.sweep.run_sweep import SweepOutcome, SweepRequest, SweepStart, run_sweep
from tests.support.small_postgres import postgres
from tests.support.small_promotion import OPEN_GATES
from tests.support.small_sweep import write_data, write_space

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 4
SPACE: dict[str, Any] = {
    "trials": TRIALS,
    "epochs": 6,
    "search": {"training.learning_rate": {"low": 5e-3, "high": 2e-2, "log": True}},
    "start_from": [],
    "gates": OPEN_GATES,
}


class TrackingServer:
    """An `mlflow server` that can be killed and started again at the same address."""

    def __init__(self, store: str, folder: Path) -> None:
        self._store, self._folder, self._port = store, folder, free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        log = self._folder / "server.log"
        self._process = start_tracking_server(
            self._store, self._folder / "artifacts", self._port, log
        )

    def kill(self) -> None:
        end(self._process, signal.SIGKILL)


@pytest.fixture(scope="module")
def databases() -> Iterator[dict[str, str]]:
    """One PostgreSQL with MLflow's database and the studies'."""
    with postgres("tracking", "studies") as addresses:
        yield addresses


@pytest.fixture
def server(
    databases: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TrackingServer]:
    """A tracking server; the test runs in a folder with data."""
    write_data(tmp_path / "data" / "small")
    found = TrackingServer(databases["tracking"], tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", found.address)
    # One question that nobody answers is enough for a test to wait for.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    yield found
    found.kill()


def swept(space: Path, storage: str, progress: Progress) -> SweepOutcome:
    def display(start: SweepStart) -> Progress:
        return progress

    return run_sweep(SweepRequest(space, {}, Placement(1), storage=storage), Paths(), display)


def trial_runs(name: str) -> list[Any]:
    client = MlflowClient()
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], "tags.trial != ''")
    return list(found)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_goes_from_sweep_to_request_over_http_and_postgresql(
    server: TrackingServer,
    databases: dict[str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    space = write_space(tmp_path, name="whole", **SPACE)
    outcome = swept(space, databases["studies"], Progress())
    assert (outcome.is_complete, outcome.findings.unwritten) == (True, 0)
    assert outcome.findings.trouble == ""
    assert not list(tmp_path.glob("mlruns/studies/*.journal"))
    assert not (tmp_path / "mlflow.db").exists()
    assert Counter(run.data.tags["outcome"] for run in trial_runs("whole")) == {"finished": TRIALS}
    (best,) = [run for run in trial_runs("whole") if run.data.tags.get("rank") == "1"]
    (model, *_) = MlflowClient().search_logged_models(
        [best.info.experiment_id], f"source_run_id = '{best.info.run_id}'"
    )
    loaded = mlflow.pyfunc.load_model(model.model_uri)
    assert len(loaded.predict(loaded.input_example)) == 2

    chosen = ("--sweep", "whole", "--storage", databases["studies"], "--seeds", "2", "--top", "1")
    assert promote_command.main(chosen) == 0
    printed = capfd.readouterr().out
    assert "registered cmir-whole version 1, alias champion" in printed
    assert "View run" not in printed

    out = tmp_path / "scores.csv"
    assert predict.main(["data/small", "--model", "cmir-whole", "--out", str(out)]) == 0
    sizes = load_dataset("data/small").sizes
    visible = sum(sizes[name] for name in ("train", "id_val", "ood_val"))
    assert len(out.read_text().splitlines()) == 1 + visible
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with model_server("models:/cmir-whole@champion", tmp_path / "model.log", settings) as url:
        sample = b'{"inputs": {"text": [[0, 1, 2, 3, 4, 5]], "vision": [0, 0, 0, 0, 1]}}'
        status, text = post(url, sample)
    assert (status, '"prediction"' in text) == (200, True), text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_server_that_is_killed_half_way_costs_nothing(
    server: TrackingServer,
    databases: dict[str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ended: list[int] = []

    def kill_after_the_second(record: TrialRecord) -> None:
        ended.append(record.number)
        if len(ended) == 2:
            server.kill()

    space = write_space(tmp_path, name="killed", **SPACE)
    cut = swept(space, databases["studies"], Progress(on_end=kill_after_the_second))
    assert (cut.is_complete, len(ended)) == (True, TRIALS)
    assert 2 <= cut.findings.unwritten <= TRIALS
    assert cut.findings.trouble != ""
    with pytest.raises(InputError, match=r"MLflow at http.* does not answer: .* Start the server"):
        swept(space, databases["studies"], Progress())

    server.start()
    again = swept(space, databases["studies"], Progress(on_end=kill_after_the_second))
    assert (again.findings.unwritten, again.findings.trouble, len(ended)) == (0, "", TRIALS)
    runs = trial_runs("killed")
    assert sorted(int(run.data.tags["trial"]) for run in runs) == list(range(TRIALS))
    assert {run.info.status for run in runs} == {"FINISHED"}
    shown = {int(run.data.tags["trial"]): run.data.metrics["objective"] for run in runs}
    assert shown == {record.number: record.objective for record in cut.records}

    request = PromotionRequest(sweep="killed", top=1, seeds=2, storage=databases["studies"])
    plan, client = plan_promotion(request, Paths()), connect()

    def kill_at_once(name: str, report: Any) -> None:
        server.kill()

    with (
        pytest.raises(InputError, match=r"answers no longer: .* run the same command again"),
        answering(client),
    ):
        promote(plan, request, client, LocalTrainings(plan.data, on_epoch=kill_at_once))
    server.start()
    chosen = ("--sweep", "killed", "--storage", databases["studies"], "--seeds", "2", "--top", "1")
    assert promote_command.main(chosen) == 0
    assert "registered cmir-killed version 1" in capfd.readouterr().out
