"""Ray Tune as the scheduler: it runs what a study asks for.

The study decides what runs and keeps what came out; Ray Tune places trials on processors and
GPUs. Each start of the command makes a fresh `Tuner` for the trials that are still missing.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, Trainable
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from cmir.runner.scheduling.interrupts import interrupt_restored, terminate_as_interrupt
from cmir.runner.scheduling.placement import Placement, Resources
from cmir.runner.scheduling.rungs import Rungs
from cmir.runner.scheduling.trials_in_flight import Progress, TrialsInFlight
from cmir.runner.scheduling.worker import REPORT, CmirTrial
from cmir.runner.studies.study import AskedTrial, TrialStudy
from cmir.space.space_file import EarlyStopping

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
class Plan:
    """What to run: how a trial of the study becomes the configuration of a Ray worker.

    Attributes:
        budget: number of trials that shall have ended.
        epochs: longest training of a trial.
        early_stopping: ASHA's settings.
        worker_config: from a trial, what `trainable` gets.
        storage: folder for Ray's own files, removed afterwards.
        trainable: the class that trains.
    """

    budget: int
    epochs: int
    early_stopping: EarlyStopping
    worker_config: Callable[[AskedTrial], dict[str, Any]]
    storage: Path
    trainable: type[Trainable] = CmirTrial


class StudySearcher(Searcher):
    """Hands the study's trials to Ray Tune, and notes which of them Ray has ended."""

    def __init__(self, study: TrialStudy, plan: Plan, in_flight: TrialsInFlight) -> None:
        super().__init__()
        self._study, self._plan, self._in_flight = study, plan, in_flight

    def suggest(self, trial_id: str) -> Any:
        """The next trial; None while waiting for others, FINISHED when the budget is spent."""
        if self._study.counted + self._study.in_flight >= self._plan.budget:
            return None if len(self._in_flight) else str(Searcher.FINISHED)
        asked = self._study.ask()
        self._in_flight.start(trial_id, asked)
        return self._plan.worker_config(asked)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Closes a trial: one that was merely interrupted stays in flight."""
        self._in_flight.close(trial_id, died=error)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune saves its searcher, but the study is the record."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the record."""


class RungScheduler(FIFOScheduler):
    """Takes each epoch's report, and stops trials that lag at a rung."""

    def __init__(self, in_flight: TrialsInFlight) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._in_flight = in_flight

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: see `StudySearcher`."""
        return {}

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        """Takes an epoch after which the trial could go on."""
        return str(self.STOP if self._take(trial, result) else self.CONTINUE)

    def on_trial_complete(
        self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]
    ) -> None:
        """Takes the last report; of a trial that was stopped it has been taken already."""
        self._take(trial, result)

    def _take(self, trial: RayTrial, result: dict[str, Any]) -> bool:
        seconds = float(result.get("time_this_iter_s", 0.0))
        return self._in_flight.take(trial.trial_id, result[REPORT], seconds)


class Ticks(Callback):
    """Lets the driver's display breathe."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: see `StudySearcher`."""
        return {}

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        """Once per turn of Ray Tune's loop."""
        self._progress.on_tick()


def run_trials(study: TrialStudy, plan: Plan, resources: Resources, progress: Progress) -> None:
    """Runs trials until the budget of ended ones is reached, or until interrupted (SIGINT).

    Returns normally in both cases: what ended is in the study.
    """
    in_flight = TrialsInFlight(study, Rungs(plan.epochs, plan.early_stopping), progress)
    tuner = tune.Tuner(
        tune.with_resources(plan.trainable, _bundle(resources)),
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(study, plan, in_flight),
            scheduler=RungScheduler(in_flight),
            num_samples=-1,
            max_concurrent_trials=resources.concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=study.name,
            storage_path=str(plan.storage.resolve()),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[Ticks(progress)],
        ),
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        with interrupt_restored():
            tuner.fit()
    finally:
        shutil.rmtree(plan.storage, ignore_errors=True)


@contextmanager
def ray_running(placement: Placement) -> Iterator[Resources]:
    """Ray while the block runs: a cluster's, or one of this machine with what the trials need.

    Yields:
        what trials may take of the machine or the cluster.
    """
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    resources = placement.here()
    ray.init(**_ray_options(resources), logging_level=logging.ERROR, log_to_driver=False)
    try:
        # Ray has put its own handler of SIGTERM in place, which would end the process at once.
        with terminate_as_interrupt():
            yield resources if placement.address is None else placement.on(*_cluster())
    finally:
        ray.shutdown()


def _ray_options(resources: Resources) -> dict[str, Any]:
    if resources.address is not None:
        return {"address": resources.address}
    # "local", as Ray would else join whatever cluster somebody has started on this machine.
    return {
        "address": "local",
        "num_cpus": resources.concurrency * resources.cpus_per_trial,
        "include_dashboard": False,
        "object_store_memory": 128 << 20,
    }


def _cluster() -> tuple[int, int]:
    """Processors and GPUs of the cluster that this process has joined."""
    found = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(found.get("CPU", 1)), int(found.get("GPU", 0))


def _bundle(resources: Resources) -> dict[str, float]:
    return {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
