"""The one runner: trains what a source asks for, keeps its records, and continues after a kill.

A sweep, an ablation, a promotion and the paper's protocol hand it their jobs. Each job is a trial
of a study: it runs where Ray places it, its run is in MLflow, and what has ended is not trained
again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.storages import BaseStorage
from ray.tune import Trainable

from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.method.environments.partitions import Partitions, partition_of
from cmir.plugins import needed_plugins
from cmir.process.interruption import THIS, handling
from cmir.runner.checkpoints import Checkpoints
from cmir.runner.driver_disk import DriverDisk, driver_disk
from cmir.runner.paths import Paths
from cmir.runner.place_check import place_check
from cmir.runner.provenance import code_checksum
from cmir.runner.scheduling.data_identity import DataIdentity
from cmir.runner.scheduling.data_server import data_served
from cmir.runner.scheduling.placement import Placement, Resources
from cmir.runner.scheduling.ray_session import ray_running
from cmir.runner.scheduling.ray_tune import Plan, run_trials
from cmir.runner.scheduling.trials_in_flight import Progress, TrialInFlight
from cmir.runner.scheduling.worker import CmirTrial, Score
from cmir.runner.studies.records import TrialRecord
from cmir.runner.studies.storage import journal_storage, release_left_lock, storage_at, storing
from cmir.runner.studies.study import AskedTrial, JobSource, TrialStudy, open_study
from cmir.runner.studies.study_lock import note_driver, study_lock
from cmir.runner.weights import WeightsKeeper
from cmir.runner.weights_mirror import WeightsMirror
from cmir.space.space_file import EarlyStopping

# MLflow takes seconds to import: what only looks at options does without it.
if TYPE_CHECKING:
    from cmir.runner.tracking.sweep_tracker import SweepTracker

NEVER = EarlyStopping(enabled=False)
# Between two writings of trials that train to MLflow, whose pages look every 30 s.
LIVE_SECONDS = 20.0


@dataclass(frozen=True)
class TrackedRun:
    """How the jobs appear in MLflow: as children of one run.

    Attributes:
        experiment: its name.
        params: of the parent run.
        tags: of the parent run, beside its data.
        files: folder to file, attached to the parent run.
        kind: tag of the child runs, by which MLflow's table keeps them apart.
        source: the command.
        live_seconds: between two writings of trials that train; 0: they appear when they end.
        page: shows what was found so far, now and then; see `Live`.
    """

    experiment: str
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    kind: str = "trial"
    source: str = "workflows/sweep.py"
    live_seconds: float = LIVE_SECONDS
    page: Callable[[SweepTracker, Sequence[TrialRecord]], None] | None = None


@dataclass(frozen=True, eq=False)
class Jobs:
    """What shall be trained, and what is kept of it.

    Attributes:
        name: of the study that keeps the records.
        data: what the trainings may see.
        source: where their configurations come from.
        epochs: of the longest.
        early_stopping: ASHA's settings, off for a list of jobs.
        keep: weights of so many of the best are kept; None: of all.
        facts: what else is kept with the study.
        tracked: how they appear in MLflow; None: not at all.
        threads: of each training; None: as many as it has processors. One makes the numbers of a
            training independent of how many run beside it.
        measures: what is measured of each finished training, names in `MEASURES`.
        score: called in the worker on each finished training; what it returns is kept with the
            weights.
    """

    name: str
    data: DevelopmentData
    source: JobSource
    epochs: int
    early_stopping: EarlyStopping = NEVER
    keep: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    tracked: TrackedRun | None = None
    threads: int | None = None
    measures: Sequence[str] = ()
    score: Score | None = None


@dataclass(frozen=True)
class RunStart:
    """What is known when jobs start: for the display.

    Attributes:
        name: of the study.
        total: jobs that shall have ended.
        done: of these, ended by earlier starts of the command.
        interrupted: left in flight by an earlier start.
        epochs: of the longest training.
        resources: what each takes, and how many run at a time.
        sign: 1 where a larger objective is better, else -1.
        tracking_uri: of MLflow's store, empty where nothing is logged.
        records: of all that ended.
    """

    name: str
    total: int
    done: int
    interrupted: int
    epochs: int
    resources: Resources
    sign: float
    tracking_uri: str
    records: Sequence[TrialRecord]


Display = Callable[[RunStart], Progress]


def silent(start: RunStart) -> Progress:
    """Shows nothing."""
    return Progress()


@dataclass(frozen=True)
class Runner:
    """Where jobs run and where their records are.

    Attributes:
        paths: where files are.
        placement: on which processors or GPUs.
        storage: address of the studies' database; None: a journal file each.
        trainable: the class that trains.
    """

    paths: Paths
    placement: Placement = field(default_factory=Placement)
    storage: str | None = None
    trainable: type[Trainable] = CmirTrial

    def run(self, jobs: Jobs, display: Display = silent) -> list[TrialRecord]:
        """Trains what is missing of the jobs.

        Returns:
            the records of the study: of jobs that ended in earlier calls too.

        Raises:
            InputError: another process trains them.
            PlaceError: the storage, the data, the disk or Ray went away; trials stay in flight.
            KeyboardInterrupt: by SIGINT or SIGTERM; what ended is kept.
        """
        with self.opened(jobs) as session:
            session.train(display)
            session.close()
            THIS.check()
            return session.study.records()

    @contextmanager
    def opened(self, jobs: Jobs) -> Iterator[Session]:
        """The jobs with their study and their runs, while no other driver has them.

        Raises:
            InputError: another process has them, or they are not those that the study began with.
        """
        self.paths.make()
        with self.paths.lock(jobs.name), handling(), storing(self.storage):
            # Before the study is begun: a store that does not answer leaves no sweep behind.
            tracker_of = _tracking(jobs)
            facts = {**jobs.facts, "data_checksum": jobs.data.checksum}
            storage = self.storage_of(jobs.name)
            with study_lock(storage, self.storage, jobs.name) as check_alone:
                study = open_study(storage, jobs.name, jobs.source, facts, check_alone)
                note_driver(storage, jobs.name)
                yield Session(self, jobs, study, tracker_of(study))

    def storage_of(self, name: str) -> BaseStorage:
        """The storage of a study, for its only driver."""
        if self.storage is not None:
            return storage_at(self.storage)
        release_left_lock(self.paths.journal(name))
        return journal_storage(self.paths.journal(name), alone=True)


class Session:
    """Jobs in the hands of their only driver."""

    def __init__(
        self, runner: Runner, jobs: Jobs, study: TrialStudy, tracker: SweepTracker | None
    ) -> None:
        self._runner, self._jobs = runner, jobs
        self.study, self.tracker = study, tracker
        paths, name = runner.paths, f"{jobs.name}-{study.key}"
        mirror = None if paths.artifacts is None else WeightsMirror(paths.artifacts, name)
        self.keeper = WeightsKeeper(
            paths, jobs.name, jobs.keep, study.sign, study.records(), mirror
        )
        origin = {"study": study.key, "data": jobs.data.checksum, "code": code_checksum()}
        self.checkpoints = Checkpoints(paths.checkpoints(jobs.name), origin)

    def train(self, display: Display) -> None:
        """Trains what is missing, and returns early where the command is told to end.

        Args:
            display: called once; the progress it returns is told of every event.
        """
        placement = self._runner.placement
        self.checkpoints.keep_only(self.study.unended)
        if not self.study.missing:
            display(self._start(placement.here()))
            return
        mark = self._runner.paths.driver(self._jobs.name)
        with driver_disk(mark) as disk, ray_running(placement) as (hosts, processes):
            resources = hosts.resources
            progress = self._keeping(display(self._start(resources)))
            data, paths = self._jobs.data, self._runner.paths
            check = place_check(data.path, paths.studies, processes.check)
            states = paths.checkpoints(self._jobs.name)
            with data_served(resources.address, data, paths.partitions, states) as source:
                plan = self._plan(resources, disk, DataIdentity.of(data, source))
                run_trials(self.study, plan, hosts, progress, check)

    def close(self) -> None:
        """Writes what MLflow lacks and ends the parent run; a server that is away is no error."""
        self.checkpoints.keep_only(self.study.unended)
        if self.tracker is None:
            return
        self.tracker.flush()
        try:
            self.tracker.close(complete=not self.study.missing)
        except Exception:  # MLflow, requests and SQLAlchemy each raise their own.
            logging.getLogger(__name__).warning("MLflow misses the end of %s", self._jobs.name)

    def _start(self, resources: Resources) -> RunStart:
        return RunStart(
            name=self._jobs.name,
            total=self.study.total,
            done=self.study.total - self.study.missing,
            interrupted=self.study.interrupted,
            epochs=self._jobs.epochs,
            resources=resources,
            sign=self.study.sign,
            tracking_uri=self.tracker.uri if self.tracker else "",
            records=self.study.records(),
        )

    def _plan(self, resources: Resources, disk: DriverDisk, data: DataIdentity) -> Plan:
        jobs, paths = self._jobs, self._runner.paths
        partitions = Partitions(jobs.data, paths.partitions)
        shared = {
            "data": data,
            "disk": disk,
            "partitions": str(paths.partitions.resolve()),
            "language": str(paths.language.resolve()),
            "threads": jobs.threads or resources.cpus_per_trial,
            "score": jobs.score,
            "measures": tuple(jobs.measures),
        }

        def worker_config(asked: AskedTrial) -> dict[str, Any]:
            if data.source is not None:
                # Computed once, here, and handed out; what is wrong with it, a worker says.
                with suppress(InputError):
                    partitions.prepare(*partition_of(asked.config.environments))
            weights = paths.weights_of(jobs.name, asked.number).resolve()
            own = {"trial": asked.config, "plugins": needed_plugins(asked.config)}
            own["state"] = self.checkpoints.place(asked)
            return {**own, "weights": str(weights), **shared}

        return Plan(
            budget=self.study.counted + self.study.missing,
            epochs=jobs.epochs,
            early_stopping=jobs.early_stopping,
            worker_config=worker_config,
            storage=paths.scheduler(jobs.name),
            keep=self.keeper.keep,
            trainable=self._runner.trainable,
            checkpoints=self.checkpoints,
        )

    def _keeping(self, progress: Progress) -> Progress:
        def on_end(record: TrialRecord) -> None:
            self.keeper.add(record)
            self.checkpoints.forget(record.number)
            if self.tracker is not None:
                self.tracker.write(record)
            progress.on_end(record)

        def on_training(trial: TrialInFlight) -> None:
            if self.tracker is not None:
                self.tracker.begin(trial)
            progress.on_training(trial)

        def on_again(number: int, why: str) -> None:
            if self.tracker is not None:
                self.tracker.let_go(number)
            progress.on_again(number, why)

        return replace(progress, on_end=on_end, on_training=on_training, on_again=on_again)


def _tracking(jobs: Jobs) -> Callable[[TrialStudy], SweepTracker | None]:
    """Asks MLflow whether it is there; returns what opens the runs of the jobs' study.

    They get what earlier starts of the command could not write.
    """
    wanted = jobs.tracked
    if wanted is None:
        return lambda study: None
    from cmir.runner.tracking import sweep_tracker as tracking
    from cmir.runner.tracking.client_runs import origin_tags

    client, data = tracking.connect(), jobs.data
    origin = origin_tags(wanted.source, wanted.tags.get("git.commit", ""))
    own_tags = {"kind": wanted.kind, "data": data.name, **origin}
    live = tracking.Live(wanted.live_seconds, own_tags, wanted.page)

    def opened(study: TrialStudy) -> SweepTracker:
        with tracking.answering(client):
            tracker = tracking.SweepTracker(
                client, wanted.experiment, jobs.name, study.parent_runs, study.key, live
            )
            study.remember_parent_run(tracker.parent)
            profile = {split: len(part.rows) for split, part in data.splits.items()}
            used = tracking.dataset_input(data.name, data.checksum, data.found_at, profile)
            tags = {"kind": "sweep", **origin, **wanted.tags}
            tracker.describe(wanted.params, tags, used)
            for folder, file in wanted.files.items():
                tracker.attach(file, folder)
        tracker.write_missing(study.records())
        return tracker

    return opened
