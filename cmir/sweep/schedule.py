"""Ray Tune as the scheduler of a sweep: it runs what the study asks for and stops what lags.

The study decides what runs and keeps what came out; Ray Tune places trials on processors and
GPUs. Each start of the command makes a fresh `Tuner` for the trials that are still missing.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, Trainable
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search import Searcher

from cmir.sweep.interrupts import interrupt_restored
from cmir.sweep.records import Ending, TrialRecord
from cmir.sweep.study import AskedTrial, SweepStudy
from cmir.sweep.sweep_file import EarlyStopping
from cmir.sweep.trial import ENDING, EPOCH, PARTITION, REPORT, SCORE, CmirTrial

RAY_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Tune's workers have an environment of their own, so that those which Ray starts in advance
    # are never used: they would only import Ray once more each.
    "RAY_prestart_worker_first_driver": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
}


@dataclass(frozen=True)
class Resources:
    """What a trial takes and how many run at once.

    Attributes:
        concurrency: trials at a time.
        cpus_per_trial: whole processors, which is also the number of torch threads.
        gpus_per_trial: a fraction where several trials share a GPU; 0 without one.
        address: of a Ray cluster; None starts Ray on this machine.
    """

    concurrency: int
    cpus_per_trial: int = 1
    gpus_per_trial: float = 0.0
    address: str | None = None


@dataclass(frozen=True)
class Plan:
    """What to run: how a trial of the study becomes the configuration of a Ray worker.

    Attributes:
        budget: number of trials that shall have ended.
        epochs: longest training of a trial.
        early_stopping: ASHA's settings.
        worker_config: from an asked trial, what `trainable` gets.
        storage: folder for Ray's own files, removed afterwards.
        trainable: the class that trains.
    """

    budget: int
    epochs: int
    early_stopping: EarlyStopping
    worker_config: Callable[[AskedTrial], dict[str, Any]]
    storage: Path
    trainable: type[Trainable] = CmirTrial


@dataclass
class Progress:
    """Watches a sweep; every method may be called at any time from the driver's loop."""

    on_start: Callable[[AskedTrial], None] = lambda trial: None
    on_epoch: Callable[[int, int, float], None] = lambda number, epoch, objective: None
    on_end: Callable[[TrialRecord], None] = lambda record: None
    on_tick: Callable[[], None] = lambda: None


@dataclass
class Running:
    """A trial in flight, as the driver knows it: its curve, last report and partition."""

    asked: AskedTrial
    curve: dict[str, list[float]] = field(default_factory=dict)
    last: Mapping[str, Any] = field(default_factory=dict)
    ending: Mapping[str, Any] | None = None
    seconds: float = 0.0
    partition: Mapping[str, Any] = field(default_factory=dict)


class RungScheduler(AsyncHyperBandScheduler):
    """ASHA (Li et al. 2020) that knows which trials it stopped, and starts with what is known.

    A continued sweep compares its trials with all earlier ones: `replay` enters their scores at
    the rungs, which a fresh ASHA would not know.
    """

    def __init__(self, epochs: int, settings: EarlyStopping) -> None:
        grace = min(settings.grace, epochs) if settings.enabled else epochs
        super().__init__(
            time_attr=EPOCH,
            max_t=epochs,
            grace_period=grace,
            reduction_factor=settings.reduction,
        )
        self.stopped: set[str] = set()

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        """As ASHA decides; a stop is remembered."""
        decision = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            self.stopped.add(trial.trial_id)
        return str(decision)

    def replay(self, name: str, scores: Sequence[float]) -> None:
        """Enters the scores of an earlier trial after epoch 1, 2, ... (larger is better)."""
        for milestone, recorded in self._brackets[0]._rungs:
            epoch = math.ceil(milestone)
            if epoch <= len(scores):
                recorded[name] = scores[epoch - 1]


class StudySearcher(Searcher):
    """Hands the study's trials to Ray Tune, and their endings back to the study."""

    def __init__(
        self, study: SweepStudy, plan: Plan, scheduler: RungScheduler, progress: Progress
    ) -> None:
        super().__init__(metric=SCORE, mode="max")
        self.study, self.plan, self.progress = study, plan, progress
        self.running: dict[str, Running] = {}
        self._stopped = scheduler.stopped

    def suggest(self, trial_id: str) -> Any:
        """The next trial; None while waiting for others, FINISHED when the budget is spent."""
        open_places = self.plan.budget - self.study.counted - self.study.in_flight
        if open_places <= 0:
            return None if self.running else str(Searcher.FINISHED)
        asked = self.study.ask()
        self.running[trial_id] = Running(asked)
        self.progress.on_start(asked)
        return self.plan.worker_config(asked)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tells the study how a trial ended; one that was merely interrupted stays in flight."""
        running = self.running.pop(trial_id, None)
        if running is None:
            return
        ending = _ending(running, error, trial_id in self._stopped)
        if ending is not None:
            self.progress.on_end(self.study.tell(running.asked.number, ending))

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune saves its searcher, but the study is the record."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the record."""


class ReportCollector(Callback):
    """Gathers each trial's reports, and lets the driver's display breathe."""

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: see `StudySearcher`."""
        return {}

    def on_trial_result(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Takes one epoch's report, or the ending that comes with the last."""
        running = self._searcher.running.get(trial.trial_id)
        if running is None:
            return
        running.seconds = float(result.get("time_total_s", 0.0))
        if REPORT in result:
            running.last = result[REPORT][0]
            _extend(running.curve, running.last)
            objective = float(running.last["objective"])
            number = running.asked.number
            self._searcher.progress.on_epoch(number, int(result[EPOCH]), objective)
        if PARTITION in result:
            running.partition = result[PARTITION][0]
        if ENDING in result:
            running.ending = result[ENDING][0]

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        """Once per turn of Ray Tune's loop."""
        self._searcher.progress.on_tick()


def run_trials(study: SweepStudy, plan: Plan, resources: Resources, progress: Progress) -> None:
    """Runs trials until the budget of ended ones is reached, or until interrupted (SIGINT).

    Returns normally in both cases: what ended is in the study.
    """
    scheduler = RungScheduler(plan.epochs, plan.early_stopping)
    for record in study.records():
        curve = record.ending.curve.get("objective", ())
        scheduler.replay(f"earlier-{record.number}", [study.sign * value for value in curve])
    searcher = StudySearcher(study, plan, scheduler, progress)
    tuner = tune.Tuner(
        tune.with_resources(plan.trainable, _bundle(resources)),
        tune_config=tune.TuneConfig(
            metric=SCORE,
            mode="max",
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=resources.concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=study.name,
            storage_path=str(plan.storage.resolve()),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[ReportCollector(searcher)],
        ),
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        with interrupt_restored():
            tuner.fit()
    finally:
        shutil.rmtree(plan.storage, ignore_errors=True)


def start_ray(resources: Resources) -> None:
    """Connects to a cluster, or starts Ray on this machine with what the trials need."""
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if resources.address is not None:
        ray.init(address=resources.address, **quiet)
        return
    cpus = resources.concurrency * resources.cpus_per_trial
    # "local", as Ray would else join whatever cluster somebody has started on this machine.
    own: dict[str, Any] = {
        "address": "local",
        "include_dashboard": False,
        "object_store_memory": 128 << 20,
    }
    ray.init(num_cpus=cpus, **own, **quiet)


def _bundle(resources: Resources) -> dict[str, float]:
    return {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}


def _ending(running: Running, error: bool, was_stopped: bool) -> Ending | None:
    """How a trial ended, None if it was interrupted before it did."""
    rest: dict[str, Any] = {
        "curve": running.curve,
        "seconds": running.seconds,
        "partition": running.partition,
    }
    if running.ending is not None:
        return Ending(**{**rest, **running.ending})
    if error:
        return Ending(
            outcome="failed",
            reason="its worker process died (out of memory, or ended from outside)",
            **rest,
        )
    if was_stopped:
        last = running.last
        return Ending("pruned", float(last["objective"]), dict(last["metrics"]), **rest)
    return None


def _extend(curve: dict[str, list[float]], report: Mapping[str, Any]) -> None:
    curve.setdefault("objective", []).append(float(report["objective"]))
    for name, value in report["metrics"].items():
        if not name.endswith("_std"):
            curve.setdefault(name, []).append(round(float(value), 6))
