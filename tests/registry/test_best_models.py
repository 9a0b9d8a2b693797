"""The best trials as models of MLflow, before anything is promoted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from cmir.data import DevelopmentData, load_dataset
from cmir.method.training.reports import TrialResult
from cmir.registry.best_models import log_best_models
from cmir.runner.paths import Paths
from cmir.runner.studies.records import Ending, TrialRecord
from cmir.runner.tracking.sweep_tracker import SweepTracker
from cmir.runner.weights import WeightsKeeper, save_weights
from cmir.serving.trained_ensemble import ensemble_of
from tests.support.made_data.learning_data import small_config, trained, write_learning
from tests.support.small_promotion import open_store

KEPT = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    return load_dataset(write_learning(tmp_path_factory.mktemp("data") / "d")).development()


@pytest.fixture(scope="module")
def result(data: DevelopmentData) -> TrialResult:
    return trained(data, small_config())


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return open_store(tmp_path, monkeypatch)


def ended(number: int, objective: float, result: TrialResult) -> TrialRecord:
    """A trial that trained this, and was as good as is said."""
    metrics = {**result.metrics, result.config.objective: objective}
    curve = {result.config.objective: (2.0, objective)}
    ending = Ending("finished", objective, metrics, curve=curve, times=(1.0, 2.0), seconds=2.0)
    return TrialRecord(number, {"loss.invariance": 0.5}, result.config, ending, None, 10.0, 12.0)


def published(
    tracker: SweepTracker, records: list[TrialRecord], result: TrialResult, data: DevelopmentData
) -> dict[str, LoggedModel]:
    """The models of the experiment by name, once these trials have ended."""
    paths = Paths()
    for record in records:
        save_weights(result, paths.weights_of("s", record.number))
        tracker.write(record)
    assert tracker.flush() == 0
    keeper = WeightsKeeper(paths, "s", KEPT, -1.0, records)
    log_best_models(tracker, records, keeper, data, paths.language)
    return {one.name: one for one in tracker.client.search_logged_models([tracker.experiment])}


def test_a_model_predicts_what_its_trial_learned_and_has_its_scores(
    client: MlflowClient, result: TrialResult, data: DevelopmentData
) -> None:
    tracker = SweepTracker(client, "space", "s")
    made = published(tracker, [ended(0, 0.75, result)], result, data)["trial-000"]
    assert (made.status, made.source_run_id) == ("READY", tracker.run_of(0))
    scores = {metric.key: metric.value for metric in made.metrics or ()}
    assert scores[f"best/{result.config.objective}"] == 0.75
    assert made.params == {"loss.invariance": "0.5"}
    model = mlflow.pyfunc.load_model(made.model_uri)
    served = np.asarray(model.predict(model.input_example)["prediction"])
    expected = ensemble_of(result, data).predict(model.input_example)["prediction"]
    np.testing.assert_allclose(served, expected, rtol=1e-6)


def test_a_trials_run_stays_as_it_ended(
    client: MlflowClient, result: TrialResult, data: DevelopmentData
) -> None:
    tracker, record = SweepTracker(client, "space", "s"), ended(0, 0.75, result)
    published(tracker, [record], result, data)
    run = client.get_run(str(tracker.run_of(0)))
    assert (run.info.start_time, run.info.end_time, run.info.status) == (10_000, 12_000, "FINISHED")
    points = client.get_metric_history(run.info.run_id, f"best/{result.config.objective}")
    assert len(points) == 1


def test_published_again_nothing_is_logged_twice_and_what_is_no_longer_best_goes(
    client: MlflowClient, result: TrialResult, data: DevelopmentData
) -> None:
    tracker = SweepTracker(client, "space", "s")
    records = [ended(0, 0.75, result), ended(1, 0.5, result)]
    first = published(tracker, records, result, data)
    assert set(first) == {"trial-000", "trial-001"}
    tracker = SweepTracker(client, "space", "s", [tracker.parent])
    again = published(tracker, [*records, ended(2, 0.25, result)], result, data)
    assert set(again) == {"trial-001", "trial-002"}
    assert again["trial-001"].model_id == first["trial-001"].model_id


def test_a_model_that_was_half_written_is_written_again(
    client: MlflowClient, result: TrialResult, data: DevelopmentData
) -> None:
    tracker, record = SweepTracker(client, "space", "s"), ended(0, 0.75, result)
    made = published(tracker, [record], result, data)["trial-000"]
    client.finalize_logged_model(made.model_id, "FAILED")
    again = published(tracker, [replace(record)], result, data)["trial-000"]
    assert (again.status, again.model_id != made.model_id) == ("READY", True)
