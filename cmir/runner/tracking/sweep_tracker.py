"""MLflow, written by the driver only: one parent run per sweep, one child run per trial.

A trial is written once, when it has ended, from the record that the study keeps; a background
thread does it, so that no trial waits for a server. What could not be written is written at the
end, or when the sweep is continued: the study is the record, MLflow its display.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Dataset, DatasetInput, Experiment, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from requests.exceptions import RequestException

from cmir.errors import InputError, PlaceError, place_fault
from cmir.hidden_secrets import without_secrets
from cmir.runner.sqlite_files import sqlite_file
from cmir.runner.studies.records import TrialRecord
from cmir.runner.tracking.client_runs import SOURCE, ClientRuns, milliseconds
from cmir.runner.tracking.local_store import first_line, is_fault_of_file, opened_store, unanswered
from cmir.runner.tracking.moved_store import settle

SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Else each ended run is told to the terminal where the store is a server.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# Seconds for which a server that failed is not asked again: each question may wait for half a
# minute, and a sweep may end a trial a second.
REST = 30.0
# More failures in a row are the server's, not those of single trials.
MOST_FAILURES = 2
UNANSWERED = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED")
NOTE = "mlflow.note.content"
# Opens the experiment in the pages for trained models, not in those for language model traces.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}


def connect() -> MlflowClient:
    """A client of the tracking store: MLFLOW_TRACKING_URI, else MLflow's own sqlite file here.

    The store is opened here, before any other process could: a fresh database does not survive
    being made by several at once.

    Raises:
        InputError: the store does not answer or cannot be written.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    uri = mlflow.get_tracking_uri()
    try:
        client = opened_store(uri)
        settle_files(client)
    except InputError:
        raise
    except Exception as error:  # MLflow, requests and SQLAlchemy each raise their own.
        raise InputError(unanswered(uri, error, "does not answer")) from None
    return client


def settle_files(client: MlflowClient) -> None:
    """Leads a local store to its files, where its folder has moved since."""
    file = sqlite_file(str(client.tracking_uri))
    if file is not None:
        settle(file, Path.cwd())


@contextmanager
def answering(client: MlflowClient) -> Iterator[None]:
    """Turns the going away of the tracking server into an error that says what to do.

    Raises:
        InputError: the server or its database did not answer inside the block.
    """
    try:
        yield
    except (MlflowException, RequestException) as error:
        uri = str(client.tracking_uri)
        is_answer = isinstance(error, MlflowException) and error.error_code not in UNANSWERED
        if is_answer and not is_fault_of_file(uri, error):
            raise
        raise InputError(unanswered(uri, error, "answers no longer")) from error


class SweepTracker:
    """The runs of one sweep."""

    def __init__(
        self,
        client: MlflowClient,
        experiment: str,
        sweep: str,
        runs: Sequence[str] = (),
        key: str = "",
    ) -> None:
        """Opens the parent run, or begins one in the experiment where this store has none yet.

        Args:
            client: of the store.
            experiment: its name.
            sweep: its name.
            runs: parent runs that the study knows of, of this store and of others.
            key: of the study, by which a run is found that was begun and not remembered.
        """
        self._client, self._sweep, self._key = client, sweep, key
        self.uri = without_secrets(str(client.tracking_uri))
        self.experiment = experiment_id(client, experiment)
        known = next((run for run in runs if _exists(client, run)), None) or self._begun_before()
        self.parent = known or self._begin()
        self._runs = ClientRuns(client, self.experiment, self.parent)
        self._written: dict[int, str] = {}
        self._begun: dict[int, str] = {}
        # The store holds what an earlier run of the command wrote: the writer looks first.
        self._is_doubtful = known is not None
        self._backlog: deque[TrialRecord] = deque()
        self._failures, self._rests_until = 0, 0.0
        self.fault: PlaceError | None = None
        self._waiting: queue.Queue[TrialRecord | None] = queue.Queue()
        self._writer = threading.Thread(target=self._write_all, daemon=True)
        self._writer.start()

    def describe(
        self, params: Mapping[str, Any], tags: Mapping[str, str], dataset: Dataset
    ) -> None:
        """Parameters, tags and data set of the sweep; a parameter already there is kept."""
        known = self._client.get_run(self.parent).data.params
        new = [Param(key, str(value)) for key, value in params.items() if key not in known]
        shown = [RunTag(key, value) for key, value in tags.items()]
        self._client.log_batch(self.parent, params=new, tags=shown)
        self._client.log_inputs(self.parent, [DatasetInput(dataset)])

    def write(self, record: TrialRecord) -> None:
        """Hands an ended trial to the writer; returns at once.

        Raises:
            PlaceError: the disk of a store in a file here gave way; the study holds what it lacks.
        """
        self._waiting.put(record)
        if self.fault is not None:
            raise self.fault

    def write_missing(self, records: Iterable[TrialRecord]) -> None:
        """Hands over all that ended; the writer passes over what is in the store already."""
        for record in records:
            self.write(record)

    def flush(self) -> int:
        """Waits for the writer, tries once more what failed; returns how many are still missing."""
        self._waiting.put(None)
        self._writer.join()
        self._failures = min(self._failures, 1)
        for _ in range(len(self._backlog)):
            if not self._backlog or self._failures > MOST_FAILURES:
                break
            self._write_next()
        return len(self._backlog)

    def run_of(self, number: int) -> str | None:
        """The run of a trial, if it has been written."""
        return self._written.get(number)

    def show(self, text: str, metrics: Mapping[str, float]) -> None:
        """The parent's description in Markdown, and its summary metrics."""
        self._client.set_tag(self.parent, NOTE, text)
        now = milliseconds(time.time())
        self._client.log_batch(self.parent, [Metric(k, v, now, 0) for k, v in metrics.items()])

    def attach(self, path: Path, folder: str | None = None, run: str | None = None) -> None:
        """Logs a file as an artifact of the parent, or of another run."""
        self._client.log_artifact(run or self.parent, str(path), folder)

    def attach_figure(self, figure: Any, name: str) -> None:
        """Logs a matplotlib figure as an artifact of the parent."""
        self._client.log_figure(self.parent, figure, name)

    def rank(self, ranks: Mapping[str, int]) -> None:
        """Tags the best trials' runs with their rank, and takes older ranks away."""
        query = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.parent}' and tags.rank != ''"
        for run in self._client.search_runs([self.experiment], query, max_results=1000):
            if run.info.run_id not in ranks:
                self._client.delete_tag(run.info.run_id, "rank")
        for run_id, place in ranks.items():
            self._client.set_tag(run_id, "rank", str(place))

    def close(self, complete: bool) -> None:
        """Ends the parent run: FINISHED, or KILLED where trials are still missing."""
        self._client.set_terminated(self.parent, "FINISHED" if complete else "KILLED")

    def _begun_before(self) -> str | None:
        """A parent run that was made while its answer was lost, or the driver killed."""
        if not self._key:
            return None
        found = self._client.search_runs([self.experiment], f"tags.study = '{self._key}'")
        return str(found[-1].info.run_id) if found else None

    def _begin(self) -> str:
        tags = {"sweep": self._sweep} | ({"study": self._key} if self._key else {}) | SOURCE
        run = self._client.create_run(self.experiment, tags=tags, run_name=self._sweep)
        return str(run.info.run_id)

    def _look(self) -> None:
        """Finds the runs of trials: those that are written, and those that were cut off."""
        cut: dict[int, list[str]] = {}
        for found in self._runs.find():
            if found.is_whole:
                self._written[found.trial] = found.run
            else:
                cut.setdefault(found.trial, []).append(found.run)
        for trial, runs in cut.items():
            # A question that was asked twice, because its answer was lost, has made two runs.
            for run in runs if trial in self._written else runs[1:]:
                self._client.delete_run(run)
            self._begun[trial] = runs[0]
        self._is_doubtful = False

    def _write_all(self) -> None:
        """The writer's loop: what failed waits in the backlog until the server answers again."""
        while (record := self._waiting.get()) is not None:
            self._backlog.append(record)
            self._write_backlog()
        self._write_backlog()

    def _write_backlog(self) -> None:
        while self._backlog and time.monotonic() >= self._rests_until:
            if not self._write_next():
                break

    def _write_next(self) -> bool:
        """Writes the first of the backlog; one that fails goes to the end, and all rest."""
        record = self._backlog.popleft()
        try:
            self._written[record.number] = self._write_one(record)
        except Exception as error:  # A server that went away must not end the sweep.
            logging.getLogger(__name__).warning(
                "trial %d is not in MLflow yet: %s", record.number, first_line(error)
            )
            self._note_fault(error)
            self._backlog.append(record)
            self._is_doubtful = True
            self._failures += 1
            self._rests_until = time.monotonic() + REST
            return False
        self._failures = 0
        return True

    def _note_fault(self, error: Exception) -> None:
        """A server that fails may come back by itself; a full disk here does not."""
        if place_fault(error) and self.uri.startswith("sqlite:"):
            self.fault = PlaceError(
                f"MLflow at {self.uri} cannot be written: {first_line(error)} The study holds "
                "every trial that has ended: make room, then run the same command again."
            )

    def _write_one(self, record: TrialRecord) -> str:
        if self._is_doubtful:
            # What was thought to have failed may have arrived, and only its answer been lost.
            self._look()
        if record.number in self._written:
            return self._written[record.number]
        if record.number not in self._begun:
            self._begun[record.number] = self._runs.begin(record)
        self._runs.fill(self._begun[record.number], record)
        return self._begun[record.number]


def dataset_input(name: str, checksum: str, place: str, profile: Mapping[str, Any]) -> Dataset:
    """A data set as MLflow lists it among a run's inputs; its place is a folder or a URL."""
    source = json.dumps({"uri": place})
    return Dataset(name, checksum[:32], "local", source, profile=json.dumps(profile))


def experiment_id(client: MlflowClient, name: str) -> str:
    """Id of an experiment, which is made or restored if need be."""
    found = client.get_experiment_by_name(name) or _made_experiment(client, name)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _made_experiment(client: MlflowClient, name: str) -> Experiment:
    try:
        made = client.create_experiment(name, tags=EXPERIMENT_TAGS)
    except MlflowException as error:
        # Another command may have made it since this one looked.
        found = client.get_experiment_by_name(name)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
            raise
        return found
    settle_files(client)
    return client.get_experiment(made)


def _exists(client: MlflowClient, run: str) -> bool:
    """Whether a store has a run; one that does not answer has not said no."""
    try:
        return bool(client.get_run(run).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return False
