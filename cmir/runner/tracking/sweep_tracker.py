"""MLflow, written by the driver only: one parent run per sweep, one child run per trial."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Dataset, DatasetInput, Experiment, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from requests.exceptions import RequestException

from cmir.errors import InputError
from cmir.hidden_secrets import without_secrets
from cmir.runner.sqlite_files import sqlite_file
from cmir.runner.studies.records import TrialRecord
from cmir.runner.tracking.client_runs import SOURCE, ClientRuns, milliseconds
from cmir.runner.tracking.host_load import HostLoad
from cmir.runner.tracking.local_store import is_fault_of_file, opened_store, unanswered
from cmir.runner.tracking.moved_store import settle
from cmir.runner.tracking.sweep_curves import COUNTS, SweepCurves
from cmir.runner.tracking.trial_writer import TrialWriter

# Ray is imported with it, which this does without.
if TYPE_CHECKING:
    from cmir.runner.scheduling.trials_in_flight import TrialInFlight

SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Else each ended run is told to the terminal where the store is a server.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# The page of a sweep takes at most so much of the time, and is drawn no more often than that.
PAGE_SHARE, PAGE_SECONDS = 0.01, 60.0
MOST_POINTS = 1000
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


@dataclass(frozen=True)
class Live:
    """What MLflow is told while trials train.

    Attributes:
        seconds: between two writings; 0: nothing before a trial has ended.
        tags: of every trial's run.
        page: shows what the sweep has found so far, now and then; it is given the tracker and the
            ended trials, in a thread of its own.
    """

    seconds: float = 20.0
    tags: Mapping[str, str] = field(default_factory=dict)
    page: Callable[[SweepTracker, Sequence[TrialRecord]], None] | None = None


class SweepTracker:
    """The runs of one sweep."""

    def __init__(
        self,
        client: MlflowClient,
        experiment: str,
        sweep: str,
        runs: Sequence[str] = (),
        key: str = "",
        live: Live = Live(),
    ) -> None:
        """Opens the parent run, or begins one in the experiment where this store has none yet.

        Args:
            client: of the store.
            experiment: its name.
            sweep: its name.
            runs: parent runs that the study knows of, of this store and of others.
            key: of the study, by which a run is found that was begun and not remembered.
            live: what is told while trials train.
        """
        self.client, self._sweep, self._key = client, sweep, key
        self.uri = without_secrets(str(client.tracking_uri))
        self.experiment = experiment_id(client, experiment)
        known = next((run for run in runs if _exists(client, run)), None) or self._begun_before()
        self.parent = known or self._begin()
        if known:
            client.update_run(known, "RUNNING")
        self._curves = SweepCurves(_endings(client, known) if known else 0)
        self._runs = ClientRuns(client, self.experiment, self.parent, live.tags)
        self._live, self._records = live, list[TrialRecord]()
        self._load = HostLoad()
        self._next_page = time.monotonic() + PAGE_SECONDS
        self.writer = TrialWriter(
            self._runs, self.uri, live.seconds, self._beat, is_new=known is None
        )

    def describe(
        self, params: Mapping[str, Any], tags: Mapping[str, str], dataset: Dataset
    ) -> None:
        """Parameters, tags and data set of the sweep; a parameter already there is kept."""
        known = self.client.get_run(self.parent).data.params
        new = [Param(key, str(value)) for key, value in params.items() if key not in known]
        shown = [RunTag(key, value) for key, value in tags.items()]
        self.client.log_batch(self.parent, params=new, tags=shown)
        self.client.log_inputs(self.parent, [DatasetInput(dataset)])

    def write(self, record: TrialRecord) -> None:
        """Hands an ended trial to the writer; returns at once.

        Raises:
            PlaceError: the disk of a store in a file here gave way; the study holds what it lacks.
        """
        self._records.append(record)
        self._curves.add(record)
        self.writer.end(record)

    def begin(self, trial: TrialInFlight) -> None:
        """Takes a trial that trains from now on; its curves are read while they grow."""
        self.writer.begin(trial)

    def let_go(self, number: int) -> None:
        """Takes back a trial that will begin anew."""
        self.writer.let_go(number)

    def write_missing(self, records: Iterable[TrialRecord]) -> None:
        """Hands over all that ended; the writer passes over what is in the store already."""
        for record in sorted(records, key=lambda record: (record.ended, record.number)):
            self.write(record)

    def flush(self) -> int:
        """Waits for the writer, tries once more what failed; returns how many are still missing."""
        missing = self.writer.stop()
        if not missing:
            with suppress(MlflowException, RequestException):
                self._add_curves()
        return missing

    def run_of(self, number: int) -> str | None:
        """The run of a trial, if it has been written."""
        return self.writer.run_of(number)

    def show(self, text: str, metrics: Mapping[str, float]) -> None:
        """The parent's description in Markdown, and its summary metrics, as of the last ending."""
        self.client.set_tag(self.parent, NOTE, text)
        ended = milliseconds(max((record.ended for record in self._records), default=time.time()))
        points = [Metric(k, v, ended, len(self._records)) for k, v in metrics.items()]
        self.client.log_batch(self.parent, points)

    def describe_experiment(self, text: str, tags: Mapping[str, str]) -> None:
        """The description of the experiment in Markdown, and tags; all its sweeps share them."""
        for key, value in {NOTE: text, **tags}.items():
            self.client.set_experiment_tag(self.experiment, key, value)

    def attach(self, path: Path, folder: str | None = None, run: str | None = None) -> None:
        """Logs a file as an artifact of the parent, or of another run."""
        self.client.log_artifact(run or self.parent, str(path), folder)

    def attach_figure(self, figure: Any, name: str) -> None:
        """Logs a matplotlib figure as an artifact of the parent."""
        self.client.log_figure(self.parent, figure, name)

    def rank(self, ranks: Mapping[str, int]) -> list[str]:
        """Tags the best trials' runs with their rank; the runs that have lost theirs."""
        query = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.parent}' and tags.rank != ''"
        found = self.client.search_runs([self.experiment], query, max_results=1000)
        lost = [run.info.run_id for run in found if run.info.run_id not in ranks]
        for run_id in lost:
            self.client.delete_tag(run_id, "rank")
        for run_id, place in ranks.items():
            self.client.set_tag(run_id, "rank", str(place))
        return lost

    def close(self, complete: bool) -> None:
        """Ends the parent run: FINISHED, or KILLED where trials are still missing."""
        self.client.set_terminated(self.parent, "FINISHED" if complete else "KILLED")

    def _begun_before(self) -> str | None:
        """A parent run that was made while its answer was lost, or the driver killed."""
        if not self._key:
            return None
        found = self.client.search_runs([self.experiment], f"tags.study = '{self._key}'")
        return str(found[-1].info.run_id) if found else None

    def _begin(self) -> str:
        tags = {"sweep": self._sweep} | ({"study": self._key} if self._key else {}) | SOURCE
        run = self.client.create_run(self.experiment, tags=tags, run_name=self._sweep)
        return str(run.info.run_id)

    def _beat(self) -> None:
        """What is written beside the trials while they train, by the writer's thread."""
        self._add_curves()
        self._runs.add(self.parent, self._load.points())
        if self._live.page is not None and time.monotonic() >= self._next_page:
            began = time.monotonic()
            try:
                self._live.page(self, list(self._records))
            except Exception:  # What is drawn half-way must not end a sweep; it is drawn again.
                logging.getLogger(__name__).debug("the sweep's page", exc_info=True)
            cost = time.monotonic() - began
            self._next_page = time.monotonic() + max(PAGE_SECONDS, cost / PAGE_SHARE)

    def _add_curves(self) -> None:
        """How far the sweep is."""
        while points := self._curves.points(MOST_POINTS):
            self._runs.add(self.parent, points)
            self._curves.keep(len(points))


def _endings(client: MlflowClient, parent: str) -> int:
    """How many endings the curves of a sweep's run have."""
    metrics = client.get_run(parent).data.metrics
    return sum(int(metrics.get(key, 0)) for key in COUNTS.values())


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
