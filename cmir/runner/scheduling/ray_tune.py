"""Ray Tune as the scheduler: it runs what a study asks for.

The study decides what runs and keeps what came out; Ray Tune places trials on processors and
GPUs. Each start of the command makes a fresh `Tuner` for the trials that are still missing.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, PlacementGroupFactory, Trainable
from ray.tune.experiment import Trial as RayTrial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from cmir.errors import InputError
from cmir.process.interruption import THIS, signals_noted
from cmir.runner.checkpoints import Checkpoints
from cmir.runner.scheduling.hosts import Hosts, Place
from cmir.runner.scheduling.rungs import Rungs
from cmir.runner.scheduling.trials_in_flight import Keep, Progress, TrialsInFlight
from cmir.runner.scheduling.worker import REPORT, CmirTrial
from cmir.runner.scheduling.worker_deaths import death_of
from cmir.runner.studies.study import AskedTrial, TrialStudy
from cmir.space.space_file import EarlyStopping

# Key of a worker's configuration.
PLACE = "place"
# Trials that Ray Tune may have waiting for room: as many as the study hands out.
MOST = 10_000


@dataclass(frozen=True)
class Plan:
    """What to run: how a trial of the study becomes the configuration of a Ray worker.

    Attributes:
        budget: number of trials that shall have ended.
        epochs: longest training of a trial.
        early_stopping: ASHA's settings.
        worker_config: from a trial, what `trainable` gets.
        storage: folder for Ray's own files, removed afterwards.
        keep: see `TrialsInFlight`.
        trainable: the class that trains.
        checkpoints: what trials go on from.
    """

    budget: int
    epochs: int
    early_stopping: EarlyStopping
    worker_config: Callable[[AskedTrial], dict[str, Any]]
    storage: Path
    keep: Keep = lambda number, objective, weights: None
    trainable: type[Trainable] = CmirTrial
    checkpoints: Checkpoints | None = None


class StudySearcher(Searcher):
    """Hands the study's trials to Ray Tune, and notes which of them Ray has ended."""

    def __init__(self, study: TrialStudy, plan: Plan, in_flight: TrialsInFlight) -> None:
        super().__init__()
        self._study, self._plan, self._in_flight = study, plan, in_flight

    def suggest(self, trial_id: str) -> Any:
        """The next trial; None while waiting for others, FINISHED when the budget is spent."""
        if self._in_flight.fault is not None:
            return self._faulty()
        if self._study.counted + self._study.in_flight >= self._plan.budget:
            return None if len(self._in_flight) else str(Searcher.FINISHED)
        if not self._in_flight.has_room:
            return None
        try:
            asked = self._study.ask()
        except InputError as fault:
            self._in_flight.fault = fault
            return self._faulty()
        place = self._in_flight.start(trial_id, asked)
        return {**self._plan.worker_config(asked), PLACE: place}

    def _faulty(self) -> None:
        """Where nothing runs, Ray Tune would wait here for minutes; else the loop's end is near."""
        if not len(self._in_flight):
            raise Stopped

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Closes a trial, of which the scheduler knows how it ended."""
        self._in_flight.close(trial_id)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune saves its searcher, but the study is the record."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the record."""


class RungScheduler(FIFOScheduler):
    """Takes each epoch's report, stops trials that lag at a rung, and learns of dead workers."""

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

    def on_trial_error(self, tune_controller: Any, trial: RayTrial) -> None:
        """Takes a trial whose process is gone."""
        self._in_flight.died(trial.trial_id, death_of(trial))

    def choose_trial_to_run(self, tune_controller: Any) -> RayTrial | None:
        """Once per turn of Ray Tune's loop: who waits for a place of yesterday is asked anew."""
        for trial in list(tune_controller.get_live_trials()):
            is_waiting = trial.status == RayTrial.PENDING
            if is_waiting and self._in_flight.is_outdated(trial.trial_id):
                self._in_flight.give_back(trial.trial_id)
                _withdraw(tune_controller, trial)
        found: RayTrial | None = super().choose_trial_to_run(tune_controller)
        return found

    def _take(self, trial: RayTrial, result: dict[str, Any]) -> bool:
        seconds = float(result.get("time_this_iter_s", 0.0))
        return self._in_flight.take(trial.trial_id, result[REPORT], seconds)


class Stopped(BaseException):
    """Ends Ray Tune's loop, past its `except Exception` that would wait for trials to end."""


class Ticks(Callback):
    """Between two turns of Ray Tune's loop: the display breathes, and what ends the loop does."""

    def __init__(self, progress: Progress, in_flight: TrialsInFlight) -> None:
        self._progress, self._in_flight = progress, in_flight

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: see `StudySearcher`."""
        return {}

    def on_trial_start(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Once a trial has a process."""
        self._in_flight.begin(trial.trial_id)

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        """Once per turn of Ray Tune's loop."""
        if THIS.is_told or self._in_flight.fault is not None:
            raise Stopped
        self._progress.on_tick()


class NoTable(TrialProgressCallback):
    """Keeps Ray Tune's own lines from the terminal: of withdrawn trials it would tell."""

    def _print(self, msg: str) -> None:
        """Nothing."""


def run_trials(
    study: TrialStudy,
    plan: Plan,
    hosts: Hosts,
    progress: Progress,
    check_place: Callable[[], None] = lambda: None,
) -> None:
    """Runs trials until the budget of ended ones is reached, or until a signal tells to end.

    Returns normally in both cases: what ended is in the study.

    Args:
        study: is asked for trials, and told how they ended.
        plan: what a trial is.
        hosts: where it may run.
        progress: is told of every event.
        check_place: called before a failure counts; raises PlaceError where not the trial but the
            place is at fault.

    Raises:
        InputError: the place gave way, or the study refuses; trials in training stay in flight.
    """
    rungs = Rungs(plan.epochs, plan.early_stopping)
    in_flight = TrialsInFlight(
        study, rungs, progress, hosts, check_place, plan.keep, plan.checkpoints
    )
    tuner = tune.Tuner(
        tune.with_resources(plan.trainable, _request),
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(study, plan, in_flight),
            scheduler=RungScheduler(in_flight),
            num_samples=-1,
            max_concurrent_trials=MOST,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=study.name,
            storage_path=str(plan.storage.resolve()),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[Ticks(progress, in_flight), NoTable()],
        ),
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        with signals_noted():
            tuner.fit()
    except Stopped:
        pass
    finally:
        shutil.rmtree(plan.storage, ignore_errors=True)
    if in_flight.fault is not None:
        raise in_flight.fault


def _withdraw(controller: Any, trial: RayTrial) -> None:
    """Takes a trial that has not begun out of Ray Tune's hands.

    Ray Tune would go on to keep a process ready for it, which holds the room of others.
    """
    whole = controller._tune_controller
    if trial in whole._staged_trials:
        whole._unstage_trial_with_resources(trial)
    controller.stop_trial(trial)


def _request(config: Mapping[str, Any]) -> PlacementGroupFactory:
    """What Ray is asked for a trial."""
    place: Place = config[PLACE]
    return place.request()
