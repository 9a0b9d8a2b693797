"""Ray Tune as the scheduler of a sweep: it runs packs of what the study asks for.

The study decides what runs and keeps what came out; Ray Tune places packs on processors and
GPUs. Each start of the command makes a fresh `Tuner` for the trials that are still missing.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, Trainable
from ray.tune.experiment import Trial as RayTrial
from ray.tune.search import Searcher

from cmir.method.training.calibration import USUAL
from cmir.runner.interrupts import interrupt_restored
from cmir.runner.packs import LARGEST, Packs, runs_alone
from cmir.runner.placement import Resources
from cmir.runner.rungs import Rungs
from cmir.runner.study import AskedTrial, SweepStudy
from cmir.runner.trials_in_flight import Progress, RunningPacks
from cmir.runner.worker import MEASURE, ROWS, SIZES, CmirTrial
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
    """What to run: how a pack of the study's trials becomes the configuration of a Ray worker.

    Attributes:
        budget: number of trials that shall have ended.
        epochs: longest training of a trial.
        early_stopping: ASHA's settings.
        worker_config: from a pack, what `trainable` gets.
        storage: folder for Ray's own files, removed afterwards.
        pack: largest number of trials that train as one stacked network; None: as many as are worth
            while, which the first worker measures.
        widest: most that the sampler then puts into a pack.
        trainable: the class that trains.
    """

    budget: int
    epochs: int
    early_stopping: EarlyStopping
    worker_config: Callable[[Sequence[AskedTrial]], dict[str, Any]]
    storage: Path
    pack: int | None = 1
    widest: int = 1
    trainable: type[Trainable] = CmirTrial


class StudySearcher(Searcher):
    """Hands the study's packs to Ray Tune, and notes which of them Ray has ended."""

    def __init__(
        self, study: SweepStudy, plan: Plan, resources: Resources, running: RunningPacks
    ) -> None:
        super().__init__()
        self._study, self._plan, self._running = study, plan, running
        self._packs, self._workers = Packs(study), resources.concurrency
        self._sharing = resources.sharing
        # On a CPU packs save no arithmetic and leave workers without work at the end: they are of
        # one configuration unless so short that Ray's part in them counts.
        self._saves = resources.gpus_per_trial > 0
        self._possible = plan.pack or (USUAL if self._saves else 1)
        self._made = min(self._possible, plan.pack or plan.widest)
        self._is_to_measure = plan.pack is None and (plan.widest > 1 or study.queued > 0)

    def suggest(self, trial_id: str) -> Any:
        """The next pack; None while waiting for others, FINISHED when the budget is spent."""
        places = self._plan.budget - self._study.counted - self._packs.in_flight
        if places <= 0:
            return None if len(self._running) else str(Searcher.FINISHED)
        # Not more than one worker's share of what is left to do.
        left = places + self._running.left(self._plan.epochs)
        size = min(self._possible, places, math.ceil(left / self._workers))
        pack = self._packs.ask(size, places, self._made)
        self._running.start(trial_id, pack)
        return self._plan.worker_config(pack) | self._measure(pack, places - len(pack))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Closes a pack: members that were merely interrupted stay in flight."""
        self._running.close(trial_id, died=error)

    def measured(self, worthwhile: int, possible: int) -> tuple[int, int]:
        """Takes useful sizes; returns those of later packs, filled by the sampler and at most."""
        self._made = min(worthwhile, self._plan.widest)
        self._possible = possible if self._saves else worthwhile
        return self._made, self._possible

    def _measure(self, pack: Sequence[AskedTrial], places: int) -> dict[str, Any]:
        """Asks the first pack's worker to measure, unless what is left is too little to gain by."""
        if not self._is_to_measure or runs_alone(pack[0]):
            return {}
        self._is_to_measure = False
        if places <= USUAL * self._workers:
            return {}
        return {MEASURE: {"most": LARGEST, "sharing": self._sharing}}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune saves its searcher, but the study is the record."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the record."""


class ReportCollector(Callback):
    """Takes each step's rows, drops who lags, and lets the driver's display breathe."""

    def __init__(self, running: RunningPacks, searcher: StudySearcher, progress: Progress) -> None:
        self._running, self._searcher, self._progress = running, searcher, progress

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
        """Takes a step of a pack, before Ray Tune asks its worker for the next."""
        if SIZES in result:
            self._progress.on_sizes(*self._searcher.measured(*result[SIZES]))
        seconds = float(result.get("time_this_iter_s", 0.0))
        rows = result.get(ROWS, [])
        lagging = self._running.take(trial.trial_id, rows, seconds)
        # Ray keeps the last result of every trial while the sweep lasts.
        rows.clear()
        worker = trial.temporary_state.ray_actor
        if lagging and worker is not None:
            # A worker does what it is told in order: it drops them before its next step.
            worker.drop.remote(lagging)

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        """Once per turn of Ray Tune's loop."""
        self._progress.on_tick()


def run_trials(study: SweepStudy, plan: Plan, resources: Resources, progress: Progress) -> None:
    """Runs trials until the budget of ended ones is reached, or until interrupted (SIGINT).

    Returns normally in both cases: what ended is in the study.
    """
    running = RunningPacks(study, Rungs(plan.epochs, plan.early_stopping), progress)
    searcher = StudySearcher(study, plan, resources, running)
    tuner = tune.Tuner(
        tune.with_resources(plan.trainable, _bundle(resources)),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=resources.concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=study.name,
            storage_path=str(plan.storage.resolve()),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[ReportCollector(running, searcher, progress)],
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
