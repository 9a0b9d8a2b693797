"""How a trial becomes a run of MLflow, while it trains and from its record: with few calls."""

from __future__ import annotations

import getpass
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID, MLFLOW_USER

from cmir.config import TrialConfig
from cmir.hidden_secrets import without_secrets
from cmir.runner.sqlite_files import sqlite_file
from cmir.runner.studies.records import TrialRecord, scheme_of
from cmir.runner.studies.study import AskedTrial
from cmir.runner.tracking.curve_points import insert_points

# A pruned trial has done as it was told: MLflow shows KILLED as it shows FAILED, as a red cross.
STATUS = {"finished": "FINISHED", "pruned": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}
SOURCE = {"mlflow.source.name": "workflows/sweep.py", "mlflow.source.type": "LOCAL"}
PAGE = 1000
TRACEBACK = "traceback.txt"


@dataclass(frozen=True)
class FoundRun:
    """A trial's run in the store.

    Attributes:
        trial: its number.
        run: id of the run.
        started: milliseconds; a trial that begins anew has another run.
        is_whole: whether all of it was written.
    """

    trial: int
    run: str
    started: int
    is_whole: bool = False


class ClientRuns:
    """The runs of a sweep's trials, through the client: for every store."""

    def __init__(
        self, client: MlflowClient, experiment: str, parent: str, tags: Mapping[str, str]
    ) -> None:
        """Runs below a parent; `tags` are those of every run."""
        self._client, self._experiment, self._parent = client, experiment, parent
        self._tags = {MLFLOW_PARENT_RUN_ID: parent, **SOURCE, **tags}
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
                tags, info = run.data.tags, run.info
                # The run of a promotion names the trial that it chose, and by which rule.
                if "rule" in tags:
                    continue
                is_whole = info.status != "RUNNING" and "outcome" in tags
                yield FoundRun(int(tags["trial"]), str(info.run_id), info.start_time, is_whole)
            page = runs.token
            if not page:
                return

    def begin(self, record: TrialRecord) -> FoundRun:
        """Makes the run of a trial that has ended."""
        return self._made(record, record.started, ending_tags(record))

    def begin_training(self, asked: AskedTrial, began: float) -> FoundRun:
        """Makes the run of a trial that trains, and shows its configuration."""
        made = self._made(asked, began, {})
        self._client.log_batch(made.run, params=params_of(asked.config))
        return made

    def add(self, run: str, points: Sequence[Metric]) -> None:
        """Writes points of curves."""
        if self._file is None or not insert_points(self._file, run, points):
            self._client.log_batch(run, points)

    def fill(self, run: str, record: TrialRecord, tags: Mapping[str, str]) -> None:
        """Writes all about a trial to its run; what ends the run comes last.

        `tags` are those that it lacks.
        """
        with tempfile.TemporaryDirectory() as folder:
            if write_tables(record, Path(folder)):
                self._client.log_artifacts(run, folder)
        points = list(points_of(record))
        if self._file is not None and insert_points(self._file, run, points):
            points = []
        lacking = [RunTag(key, value) for key, value in tags.items()]
        self._client.log_batch(run, points, params_of(record.config), lacking)
        self._client.set_terminated(run, STATUS[record.outcome], milliseconds(record.ended))

    def stop(self, run: str) -> None:
        """Ends the run of a trial that was interrupted."""
        self._client.set_terminated(run, "KILLED")

    def discard(self, run: str) -> None:
        """Takes a run away whose trial has begun anew: points of both would stand in one curve."""
        self.stop(run)
        self._client.delete_run(run)

    def _made(
        self, trial: AskedTrial | TrialRecord, began: float, tags: Mapping[str, str]
    ) -> FoundRun:
        number, name = trial.number, f"{trial.number:03d} {trial.name}"
        known = {**self._tags, "trial": str(number), "scheme": scheme_of(trial.config)}
        if trial.retry_of is not None:
            known["retry_of"] = str(trial.retry_of)
        started = milliseconds(began)
        run = self._client.create_run(self._experiment, started, {**known, **tags}, name)
        return FoundRun(number, str(run.info.run_id), started)


def origin_tags(source: str, commit: str) -> dict[str, str]:
    """What the columns User, Source and Version of MLflow's table show."""
    try:
        user = {MLFLOW_USER: getpass.getuser()}
    except (KeyError, OSError):  # The user has no name here, as in some containers.
        user = {}
    version = {MLFLOW_GIT_COMMIT: commit} if commit else {}
    return {"mlflow.source.name": source, **user, **version}


def ending_tags(record: TrialRecord) -> dict[str, str]:
    """How a trial ended."""
    tags = {"outcome": str(record.outcome)}
    if record.ending.reason:
        tags["reason"] = without_secrets(record.ending.reason)[:500]
    if record.ending.best_epochs:
        tags["best_epochs"] = _text(list(record.ending.best_epochs))
    return tags


def params_of(config: TrialConfig) -> list[Param]:
    """The whole configuration."""
    return [Param(key, _text(value)) for key, value in config.flat().items()]


def points_of(record: TrialRecord) -> Iterator[Metric]:
    """The curves, one point for each epoch; then the kept values, metrics of their own."""
    times = record.ending.times or [record.ended - record.started] * _epochs(record)
    yield from curve_points(_with_kept_objective(record), record.started, times)
    yield from kept_points(record)


def kept_points(record: TrialRecord, model: str | None = None) -> Iterator[Metric]:
    """What a trial keeps when it has ended, one point each; of a model of the run if one is named.

    A kept value has the name of its metric where that has no curve, as the spread over the seeds;
    else it is `best/split/metric`.
    """
    ending, ended = record.ending, milliseconds(record.ended)
    kept = dict(ending.metrics) | {"objective": record.objective}
    single = {key: value for key, value in kept.items() if key not in ending.curve}
    if record.outcome == "finished":
        single |= {f"best/{key}": value for key, value in kept.items() if key in ending.curve}
    single |= {**ending.partition.get("metrics", {}), "seconds": ending.seconds}
    for name, value in single.items():
        if value is not None:
            yield Metric(name, value, ended, max(_epochs(record), 1), model_id=model)


def _epochs(record: TrialRecord) -> int:
    return max(map(len, record.ending.curve.values()), default=0)


def _with_kept_objective(record: TrialRecord) -> dict[str, Sequence[float]]:
    """The curves; that of the best so far ends in the kept value, with all its digits."""
    curve = dict(record.ending.curve)
    if record.outcome == "finished" and record.objective is not None and "objective" in curve:
        curve["objective"] = [*curve["objective"][:-1], record.objective]
    return curve


def curve_points(
    curve: Mapping[str, Sequence[float]], began: float, times: Sequence[float], written: int = 0
) -> Iterator[Metric]:
    """Points of curves from the first epoch on that is not written, each with its own time."""
    stamps = [milliseconds(began + time) for time in times]
    for name, values in curve.items():
        for epoch, value in enumerate(values[written : len(stamps)], start=written + 1):
            yield Metric(name, value, stamps[epoch - 1], epoch)


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
