"""Runs of many trials in one transaction, where MLflow's store is a database of ours to open.

MLflow's client takes eight transactions and .07 s of processor for a trial of 33 curves of 15
epochs, most of it for objects of its mapper. The rows are the same; a test compares them.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Metric, SourceType
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.tracking.dbmodels.models import (
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME
from mlflow.utils.uri import append_to_uri_path
from sqlalchemy import insert, select
from sqlalchemy.orm import aliased

from cmir.runner.records import TrialRecord
from cmir.runner.tracking.client_runs import (
    STATUS,
    FoundRun,
    first_tags,
    found_run,
    last_tags,
    milliseconds,
    name_of,
    params_of,
    points_of,
    write_tables,
)

Rows = list[dict[str, Any]]
LARGEST = 1.7976931348623157e308


class RunTables:
    """The runs of a sweep's trials in the tables of MLflow's database."""

    def __init__(self, store: SqlAlchemyStore, experiment: str, parent: str) -> None:
        self._store, self._experiment, self._parent = store, experiment, parent
        found = store.get_experiment(experiment)  # type: ignore[no-untyped-call]
        self._place = str(found.artifact_location)

    def find(self) -> list[FoundRun]:
        """As the client's, without the metrics and parameters that MLflow loads with each run."""
        of_sweep, trial, outcome = aliased(SqlTag), aliased(SqlTag), aliased(SqlTag)
        question: Any = (
            select(trial.value, SqlRun.run_uuid, outcome.value, SqlRun.status)
            .join(of_sweep, of_sweep.run_uuid == SqlRun.run_uuid)
            .join(trial, trial.run_uuid == SqlRun.run_uuid)
            .outerjoin(outcome, (outcome.run_uuid == SqlRun.run_uuid) & (outcome.key == "outcome"))
            .where(
                SqlRun.lifecycle_stage == LifecycleStage.ACTIVE,
                of_sweep.key == MLFLOW_PARENT_RUN_ID,
                of_sweep.value == self._parent,
                trial.key == "trial",
            )
        )
        with self._store.ManagedSessionMaker() as session:
            rows = session.execute(question).all()
        return [
            found_run(number, run, how is not None, status) for number, run, how, status in rows
        ]

    def write(self, records: Sequence[TrialRecord]) -> dict[int, str]:
        """Writes trials that have no run yet, all or none; returns trial to run."""
        runs = {record.number: uuid.uuid4().hex for record in records}
        tables: dict[Any, Rows] = {m: [] for m in (SqlRun, SqlTag, SqlParam, SqlMetric)}
        tables[SqlLatestMetric] = []
        for record in records:
            run = runs[record.number]
            tables[SqlRun].append(self._run(run, record))
            tables[SqlTag] += _pairs(run, self._tags(record))
            tables[SqlParam] += _pairs(run, params_of(record))
            points = [_point(run, metric) for metric in points_of(record)]
            tables[SqlMetric] += points
            # The points of a metric come in the order of their steps.
            tables[SqlLatestMetric] += {point["key"]: point for point in points}.values()
            self._attach(run, record)
        with self._store.ManagedSessionMaker(read_only=False) as session:
            for model, rows in tables.items():
                session.execute(insert(model.__table__), rows)
        return runs

    def _run(self, run: str, record: TrialRecord) -> dict[str, Any]:
        return {
            "run_uuid": run,
            "name": name_of(record),
            "source_type": SourceType.to_string(SourceType.UNKNOWN),
            "source_name": "",
            "entry_point_name": "",
            "user_id": "unknown",
            "status": STATUS[record.outcome],
            "start_time": milliseconds(record.started),
            "end_time": milliseconds(record.ended),
            "source_version": "",
            "lifecycle_stage": LifecycleStage.ACTIVE,
            "artifact_uri": self._artifacts(run),
            "experiment_id": int(self._experiment),
        }

    def _tags(self, record: TrialRecord) -> Mapping[str, str]:
        named = {MLFLOW_RUN_NAME: name_of(record)}
        return first_tags(record, self._parent) | named | last_tags(record)

    def _artifacts(self, run: str) -> str:
        names = (run, SqlAlchemyStore.ARTIFACTS_FOLDER_NAME)
        return str(append_to_uri_path(self._place, *names))  # type: ignore[no-untyped-call]

    def _attach(self, run: str, record: TrialRecord) -> None:
        with TemporaryDirectory() as folder:
            if write_tables(record, Path(folder)):
                files = get_artifact_repository(self._artifacts(run))
                files.log_artifacts(folder)  # type: ignore[no-untyped-call]


def tables_of(client: MlflowClient, experiment: str, parent: str) -> RunTables | None:
    """The tables of a client's store; None where it is a server, which alone may write them."""
    store = client._tracking_client.store
    return RunTables(store, experiment, parent) if type(store) is SqlAlchemyStore else None


def _pairs(run: str, values: Mapping[str, str]) -> Rows:
    return [{"run_uuid": run, "key": key, "value": value} for key, value in values.items()]


def _point(run: str, metric: Metric) -> dict[str, Any]:
    is_nan = math.isnan(metric.value)
    value = 0.0 if is_nan else min(max(metric.value, -LARGEST), LARGEST)
    return {
        "run_uuid": run,
        "key": metric.key,
        "value": value,
        "timestamp": metric.timestamp,
        "step": metric.step,
        "is_nan": is_nan,
    }
