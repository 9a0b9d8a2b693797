"""The trials that are training now, as the driver knows them: their curves and outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cmir.errors import InputError
from cmir.process.interruption import THIS
from cmir.runner.checkpoints import Checkpoints, Way
from cmir.runner.scheduling.hosts import Hosts, Place
from cmir.runner.scheduling.rungs import Rungs
from cmir.runner.scheduling.worker import WorkerReport
from cmir.runner.scheduling.worker_deaths import DIED, NOTICE, Death, Deaths
from cmir.runner.studies.records import Ending, TrialRecord
from cmir.runner.studies.study import AskedTrial, TrialStudy

# From a finished trial's number, objective and packed weights.
Keep = Callable[[int, float, bytes], None]


@dataclass
class Progress:
    """Watches a sweep; every method may be called at any time from the driver's loop."""

    on_start: Callable[[AskedTrial], None] = lambda trial: None
    on_training: Callable[[TrialInFlight], None] = lambda trial: None
    on_epoch: Callable[[int, int, float], None] = lambda number, epoch, objective: None
    on_end: Callable[[TrialRecord], None] = lambda record: None
    on_again: Callable[[int, str], None] = lambda number, why: None
    on_resume: Callable[[int, int], None] = lambda number, epoch: None
    on_notice: Callable[[str], None] = lambda text: None
    on_tick: Callable[[], None] = lambda: None


@dataclass
class TrialInFlight:
    """A trial that was handed to a worker: its place, curve, last report, and seconds.

    Another thread may read it while it trains: the first `len(times)` epochs of its curves are
    complete, and none is the last as long as `is_last` is false thereafter.
    """

    asked: AskedTrial
    place: Place
    began: float = field(default_factory=time.time)
    curve: dict[str, list[float]] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    last: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    partition: Mapping[str, Any] = field(default_factory=dict)
    is_last: bool = False

    @property
    def number(self) -> int:
        """Its number in the study."""
        return self.asked.number

    def note(self, report: WorkerReport, seconds: float) -> None:
        """Takes a worker's report."""
        self.is_last = report.is_last
        self.seconds += seconds
        self.partition = report.partition or self.partition
        if not report.epoch:
            return
        self.last = {"objective": report.objective, "metrics": report.metrics}
        self.curve.setdefault("objective", []).append(float(report.objective))
        for name, value in report.metrics.items():
            if not name.endswith("_std"):
                self.curve.setdefault(name, []).append(round(float(value), 6))
        self.times.append(round(time.time() - self.began, 3))

    def way(self) -> Way:
        """How it came to its last epoch."""
        return Way(len(self.times), self.curve, self.times, self.seconds, self.partition)

    def go_on(self, way: Way) -> None:
        """It has come so far before, and has nothing to show of that yet."""
        self.curve = {name: list(values) for name, values in way.curve.items()}
        self.times, self.seconds, self.partition = list(way.times), way.seconds, way.partition

    def begin(self) -> None:
        """It trains from now on; the time between its state and now is none of its own."""
        self.began = time.time() - (self.times[-1] if self.times else 0.0)

    def ended(self, outcome: Mapping[str, Any]) -> Ending:
        """Its ending, with what is known of its way there."""
        known = {"curve": self.curve, "seconds": self.seconds, "partition": self.partition}
        return Ending(**{**known, "times": self.times, "began": self.began, **outcome})

    def pruned(self) -> Ending:
        """Its ending where it lagged at a rung: with its last values."""
        return self.ended({"outcome": "pruned", **self.last})


class TrialsInFlight:
    """The trials in training, by the name of their Ray trial."""

    def __init__(
        self,
        study: TrialStudy,
        rungs: Rungs,
        progress: Progress,
        hosts: Hosts,
        check_place: Callable[[], None] = lambda: None,
        keep: Keep = lambda number, objective, weights: None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        """Starts with none; `rungs` are told of the study's ended trials.

        `check_place` is called before a failure counts. Where it raises PlaceError, or the study
        cannot be told, that is the `fault`: the trial stays in flight, and nothing more begins.
        `keep` is told of a finished trial before it counts: number, objective, and the weights
        that came with its report. `checkpoints` are what trials go on from.
        """
        self._study, self._rungs, self._progress = study, rungs, progress
        self._hosts, self._check_place, self._keep = hosts, check_place, keep
        self._checkpoints = checkpoints
        self._deaths = Deaths(hosts, NOTICE if hosts.resources.address else 0.0)
        self.fault: InputError | None = None
        self._trials: dict[str, TrialInFlight] = {}
        for record in study.records():
            curve = record.ending.curve.get("objective", ())
            rungs.replay([self._score(value) for value in curve])

    def __len__(self) -> int:
        """Number of trials."""
        return len(self._trials)

    @property
    def has_room(self) -> bool:
        """Whether there is room for one more."""
        return self._hosts.has_room(self._places())

    def start(self, name: str, asked: AskedTrial) -> Place:
        """Takes a trial that is about to train; returns where it shall."""
        place = self._hosts.place(self._places(), self._deaths.tried(asked.number))
        self._trials[name] = trial = TrialInFlight(asked, place)
        way = self._way(asked)
        if way is not None:
            trial.go_on(way)
            self._rungs.replay(self._scores(trial))
        self._progress.on_start(asked)
        if way is not None:
            self._progress.on_resume(asked.number, way.epoch)
        return place

    def begin(self, name: str) -> None:
        """A trial has its worker: it trains from now on."""
        trial = self._trials.get(name)
        if trial is not None:
            trial.begin()
            self._progress.on_training(trial)

    def take(self, name: str, report: WorkerReport, seconds: float) -> bool:
        """Takes the report of an epoch, which took so many seconds.

        Returns:
            whether the trial lags at a rung and shall train no longer.
        """
        trial = self._trials.get(name)
        if trial is None or self.fault is not None:
            return False
        trial.note(report, seconds)
        if report.notice:
            self._progress.on_notice(f"host {self._hosts.name(report.host)}: {report.notice}")
        if report.epoch:
            self._progress.on_epoch(trial.number, report.epoch, float(report.objective))
        if report.is_kept:
            self._note_state(trial)
        lags = self._lags(report)
        if report.is_last or lags:
            del self._trials[name]
            self._end(trial, report)
        report.forget()
        return lags

    def died(self, name: str, death: Death) -> None:
        """Takes a trial whose worker died: it is tried again, elsewhere first, or has failed."""
        trial = self._trials.pop(name, None)
        # A signal may have gone to the workers as well: then the trial stays in flight.
        if trial is None or THIS.is_told or not self._is_sound():
            return
        if death.unfit:
            self._leave_out(trial, death.host, death.unfit)
            return
        why = self._deaths.note(trial.number, death)
        if why:
            self._again(trial, why)
        else:
            failed = {"outcome": "failed", "reason": DIED, "is_final": True}
            self._tell(trial, trial.ended(failed))

    def close(self, name: str) -> None:
        """Lets go of a trial that still trains: it was interrupted, and stays in flight."""
        self._trials.pop(name, None)

    def is_outdated(self, name: str) -> bool:
        """Whether a trial that has not begun waits for a place that it shall not have."""
        trial = self._trials.get(name)
        return trial is not None and self._hosts.is_outdated(trial.place)

    def give_back(self, name: str) -> None:
        """Takes back a trial that has not begun, so that it is given another place."""
        trial = self._trials.pop(name)
        self._rungs.withdraw(self._scores(trial))
        self._study.hand_back(trial.number)

    def _places(self) -> list[Place]:
        return [trial.place for trial in self._trials.values()]

    def _end(self, trial: TrialInFlight, report: WorkerReport) -> None:
        if report.place:
            if self._is_sound():
                self._leave_out(trial, report.host, report.place)
        elif report.unusable:
            self._forget_state(trial)
            self._again(trial, f"its state cannot be used: {report.unusable}")
        elif self._has_kept(trial, report):
            self._tell(trial, trial.ended(report.ending) if report.ending else trial.pruned())

    def _has_kept(self, trial: TrialInFlight, report: WorkerReport) -> bool:
        """Keeps the weights of a finished trial, before it counts as ended."""
        try:
            if report.ending.get("outcome") == "finished":
                self._keep(trial.number, float(report.objective), report.weights)
        except InputError as fault:
            self.fault = fault
        return self.fault is None

    def _leave_out(self, trial: TrialInFlight, host: str, why: str) -> None:
        """No trial runs on this host any more; this one has not ended, and runs elsewhere."""
        self._again(trial)
        if self._hosts.is_left_out(host):
            return
        try:
            self._hosts.leave_out(host, why)
            self._progress.on_notice(f"host {self._hosts.name(host)} is left out: {why}")
        except InputError as fault:
            self.fault = fault

    def _again(self, trial: TrialInFlight, why: str = "") -> None:
        """The trial runs again under its number, as if it had never come past its last state."""
        self._rungs.withdraw(self._scores(trial))
        self._study.hand_back(trial.number)
        self._progress.on_again(trial.number, why)

    def _way(self, asked: AskedTrial) -> Way | None:
        """How far a trial came before; None where it begins."""
        return None if self._checkpoints is None else self._checkpoints.last(asked)

    def _note_state(self, trial: TrialInFlight) -> None:
        """A worker has kept the state of a trial, which belongs to how it came there."""
        try:
            if self._checkpoints is not None:
                self._checkpoints.note(trial.asked, trial.way())
        except InputError as fault:
            self.fault = fault

    def _forget_state(self, trial: TrialInFlight) -> None:
        if self._checkpoints is not None:
            self._checkpoints.forget(trial.number)

    def _lags(self, report: WorkerReport) -> bool:
        """Whether a trial stops at its rung; one that has finished only counts there."""
        if not report.epoch:
            return False
        score = self._score(report.objective)
        if report.is_last:
            self._rungs.enter(report.epoch, score)
            return False
        return self._rungs.lags(report.epoch, score)

    def _scores(self, trial: TrialInFlight) -> list[float]:
        """Of its epochs, as rungs compare them."""
        return [self._score(value) for value in trial.curve.get("objective", ())]

    def _score(self, objective: float) -> float:
        return self._study.sign * objective

    def _is_sound(self) -> bool:
        """Whether the driver's own place is: else that is the fault."""
        if self.fault is None:
            try:
                self._check_place()
            except InputError as fault:
                self.fault = fault
        return self.fault is None

    def _tell(self, trial: TrialInFlight, ending: Ending) -> None:
        if ending.outcome == "failed" and (THIS.is_told or not self._is_sound()):
            # The signal may have gone to the workers as well: the trial stays in flight.
            return
        try:
            self._progress.on_end(self._study.tell(trial.number, ending))
        except InputError as fault:
            self.fault = fault
