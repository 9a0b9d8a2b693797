"""How a trial's record becomes a run of MLflow: with few calls through its client."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from cmir.hidden_secrets import without_secrets
from cmir.runner.sqlite_files import sqlite_file
from cmir.runner.studies.records import TrialRecord
from cmir.runner.tracking.curve_points import insert_points

STATUS = {"finished": "FINISHED", "pruned": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
SOURCE = {"mlflow.source.name": "workflows/sweep.py", "mlflow.source.type": "LOCAL"}
PAGE = 1000
TRACEBACK = "traceback.txt"


@dataclass(frozen=True)
class FoundRun:
    """A trial's run in the store.

    Attributes:
        trial: its number.
        run: id of the run.
        is_whole: whether all of it was written.
    """

    trial: int
    run: str
    is_whole: bool


class ClientRuns:
    """The runs of a sweep's trials, through the client: for every store."""

    def __init__(self, client: MlflowClient, experiment: str, parent: str) -> None:
        self._client, self._experiment, self._parent = client, experiment, parent
        self._file = sqlite_file(str(client.tracking_uri))

    def find(self) -> Iterator[FoundRun]:
        """The runs that the store has, whole or cut off."""
        query = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self._parent}' and tags.trial != ''"
        page = None
        while True:
            runs = self._client.search_runs(
                [self._experiment], query, max_results=PAGE, page_token=page
            )
            for run in runs:
                trial, is_whole = int(run.data.tags["trial"]), run.info.status != "RUNNING"
                yield FoundRun(trial, str(run.info.run_id), is_whole)
            page = runs.token
            if not page:
                return

    def begin(self, record: TrialRecord) -> str:
        """Makes the run of a trial; returns its id."""
        tags, started = tags_of(record, self._parent), milliseconds(record.started)
        run = self._client.create_run(self._experiment, started, tags, name_of(record))
        return str(run.info.run_id)

    def fill(self, run: str, record: TrialRecord) -> None:
        """Writes all about a trial to its run; what ends the run comes last."""
        with tempfile.TemporaryDirectory() as folder:
            if write_tables(record, Path(folder)):
                self._client.log_artifacts(run, folder)
        points = list(points_of(record))
        if self._file is not None and insert_points(self._file, run, points):
            points = []
        params = [Param(key, value) for key, value in params_of(record).items()]
        self._client.log_batch(run, points, params=params)
        self._client.set_terminated(run, STATUS[record.outcome], milliseconds(record.ended))


def name_of(record: TrialRecord) -> str:
    """Name of a trial's run."""
    return f"{record.number:03d} {record.name}"


def tags_of(record: TrialRecord, parent: str) -> dict[str, str]:
    """Whose run it is, and how the trial ended."""
    tags = {MLFLOW_PARENT_RUN_ID: parent, "trial": str(record.number)} | SOURCE
    tags |= {"scheme": record.scheme, "outcome": record.outcome}
    if record.ending.reason:
        tags["reason"] = without_secrets(record.ending.reason)[:500]
    if record.retry_of is not None:
        tags["retry_of"] = str(record.retry_of)
    if record.ending.best_epochs:
        tags["best_epochs"] = _text(list(record.ending.best_epochs))
    return tags


def params_of(record: TrialRecord) -> dict[str, str]:
    """The whole configuration."""
    return {key: _text(value) for key, value in record.config.flat().items()}


def points_of(record: TrialRecord) -> Iterator[Metric]:
    """The curves, then the kept values as the last point of each: what MLflow's tables show."""
    ended, last = milliseconds(record.ended), 1
    for name, curve in record.ending.curve.items():
        last = max(last, len(curve) + 1)
        for epoch, value in enumerate(curve, start=1):
            yield Metric(name, value, ended, epoch)
    final = dict(record.ending.metrics) | record.ending.partition.get("metrics", {})
    if record.objective is not None:
        final["objective"] = record.objective
    for name, value in (final | {"seconds": record.ending.seconds}).items():
        yield Metric(name, value, ended, last)


def write_tables(record: TrialRecord, folder: Path) -> bool:
    """Writes what is shown as files into a folder; returns whether there is any."""
    tables: Mapping[str, Mapping[str, Any]] = {
        "by_seed.json": record.ending.by_seed,
        "partition.json": record.ending.partition,
    }
    for name, table in tables.items():
        if table:
            (folder / name).write_text(json.dumps(dict(table), indent=2))
    if record.ending.traceback:
        (folder / TRACEBACK).write_text(record.ending.traceback, errors="replace")
    return any(tables.values()) or bool(record.ending.traceback)


def milliseconds(seconds: float) -> int:
    """Time as MLflow writes it."""
    return int(seconds * 1000)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
