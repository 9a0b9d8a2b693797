"""The best trials of a sweep as models of MLflow, to compare and load before any promotion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from cmir.data import DevelopmentData
from cmir.registry.logged_models import READY, has_language, log_model, models_of
from cmir.runner.studies.records import TrialRecord
from cmir.runner.tracking.client_runs import kept_points
from cmir.runner.tracking.sweep_tracker import SweepTracker
from cmir.runner.weights import WeightsKeeper, load_result
from cmir.serving.predictor import Ensemble
from cmir.serving.trained_ensemble import ensemble_of

BEST = "best/"


def log_best_models(
    tracker: SweepTracker,
    records: Sequence[TrialRecord],
    keeper: WeightsKeeper,
    data: DevelopmentData,
    cache: Path,
) -> None:
    """Tags the best trials with their rank, and logs a model for each whose weights are here.

    One that is there stays; the models of trials that are no longer among the best are deleted. A
    model holds its pretrained language models whole, so of trials with these the best alone gets
    one.
    """
    by_number = {record.number: record for record in records}
    best = [(n, path, run) for n, path in keeper.best() if (run := tracker.run_of(n)) is not None]
    for run in tracker.rank({run: rank for rank, (_, _, run) in enumerate(best, start=1)}):
        _delete(tracker.client, models_of(tracker.client, run))
    for rank, (number, path, run) in enumerate(best, start=1):
        if _has_model(tracker.client, run):
            continue
        ensemble = ensemble_of(load_result(by_number[number], path, cache), data)
        if rank == 1 or not has_language(ensemble):
            _log(tracker.client, by_number[number], run, ensemble, data)


def _has_model(client: MlflowClient, run: str) -> bool:
    """Whether a trial has its model already; what was left half written is deleted."""
    known = models_of(client, run)
    _delete(client, [model for model in known if model.status != READY])
    return any(model.status == READY for model in known)


def _log(
    client: MlflowClient, record: TrialRecord, run: str, ensemble: Ensemble, data: DevelopmentData
) -> None:
    name, tags = f"trial-{record.number:03d}", {"kind": "trial", "scheme": record.scheme}
    params = {key: str(value) for key, value in record.params.items()}
    made = log_model(client, run, name, ensemble, data, tags=tags, params=params)
    kept = [point for point in kept_points(record, made.model_id) if point.key.startswith(BEST)]
    client.log_batch(run, sorted(kept, key=lambda point: point.key != f"{BEST}objective"))


def _delete(client: MlflowClient, models: Sequence[LoggedModel]) -> None:
    for model in models:
        client.delete_logged_model(model.model_id)
