"""The trials that are training now, as the driver knows them: their curves and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cmir.errors import InputError, PlaceError
from cmir.process.interruption import THIS
from cmir.runner.scheduling.rungs import Rungs
from cmir.runner.scheduling.worker import WorkerReport
from cmir.runner.studies.records import Ending, TrialRecord
from cmir.runner.studies.study import AskedTrial, TrialStudy

DIED = "its worker process died (out of memory, or ended from outside)"


@dataclass
class Progress:
    """Watches a sweep; every method may be called at any time from the driver's loop."""

    on_start: Callable[[AskedTrial], None] = lambda trial: None
    on_epoch: Callable[[int, int, float], None] = lambda number, epoch, objective: None
    on_end: Callable[[TrialRecord], None] = lambda record: None
    on_tick: Callable[[], None] = lambda: None


@dataclass
class TrialInFlight:
    """A trial that was handed to a worker: its curve, its last report, its seconds."""

    number: int
    curve: dict[str, list[float]] = field(default_factory=dict)
    last: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    partition: Mapping[str, Any] = field(default_factory=dict)

    def note(self, report: WorkerReport, seconds: float) -> None:
        """Takes a worker's report."""
        self.seconds += seconds
        self.partition = report.partition or self.partition
        if not report.epoch:
            return
        self.last = {"objective": report.objective, "metrics": report.metrics}
        self.curve.setdefault("objective", []).append(float(report.objective))
        for name, value in report.metrics.items():
            if not name.endswith("_std"):
                self.curve.setdefault(name, []).append(round(float(value), 6))

    def ended(self, outcome: Mapping[str, Any]) -> Ending:
        """Its ending, with what is known of its way there."""
        known = {"curve": self.curve, "seconds": self.seconds, "partition": self.partition}
        return Ending(**{**known, **outcome})

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
        check_place: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts with none; `rungs` are told of the study's ended trials.

        `check_place` is called before a failure counts. Where it raises PlaceError, or the study
        cannot be told, that is the `fault`: the trial stays in flight, and nothing more begins.
        """
        self._study, self._rungs, self._progress = study, rungs, progress
        self._check_place = check_place
        self.fault: InputError | None = None
        self._trials: dict[str, TrialInFlight] = {}
        for record in study.records():
            curve = record.ending.curve.get("objective", ())
            rungs.replay([self._score(value) for value in curve])

    def __len__(self) -> int:
        """Number of trials."""
        return len(self._trials)

    def start(self, name: str, asked: AskedTrial) -> None:
        """Takes a trial that is about to train."""
        self._trials[name] = TrialInFlight(asked.number)
        self._progress.on_start(asked)

    def take(self, name: str, report: WorkerReport, seconds: float) -> bool:
        """Takes the report of an epoch, which took so many seconds.

        Returns:
            whether the trial lags at a rung and shall train no longer.
        """
        trial = self._trials.get(name)
        if trial is None or self.fault is not None:
            return False
        trial.note(report, seconds)
        if report.epoch:
            self._progress.on_epoch(trial.number, report.epoch, float(report.objective))
        lags = self._lags(report)
        if report.is_last or lags:
            del self._trials[name]
            self._end(trial, report)
        report.forget()
        return lags

    def close(self, name: str, died: bool) -> None:
        """Ends a trial that still trains: it has failed if its worker died, or was interrupted."""
        trial = self._trials.pop(name, None)
        if trial is not None and died and self.fault is None:
            self._tell(trial, trial.ended({"outcome": "failed", "reason": DIED}))

    def _end(self, trial: TrialInFlight, report: WorkerReport) -> None:
        if report.place:
            self.fault = PlaceError(f"trial {trial.number}: {report.place}")
        else:
            self._tell(trial, trial.ended(report.ending) if report.ending else trial.pruned())

    def _lags(self, report: WorkerReport) -> bool:
        """Whether a trial stops at its rung; one that has finished only counts there."""
        if not report.epoch:
            return False
        score = self._score(report.objective)
        if report.is_last:
            self._rungs.enter(report.epoch, score)
            return False
        return self._rungs.lags(report.epoch, score)

    def _score(self, objective: float) -> float:
        return self._study.sign * objective

    def _tell(self, trial: TrialInFlight, ending: Ending) -> None:
        if ending.outcome == "failed" and THIS.is_told:
            # The signal may have gone to the workers as well: the trial stays in flight.
            return
        try:
            if ending.outcome == "failed":
                self._check_place()
            self._progress.on_end(self._study.tell(trial.number, ending))
        except InputError as fault:
            self.fault = fault
