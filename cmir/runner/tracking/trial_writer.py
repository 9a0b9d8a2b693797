"""Writes the runs of trials in a thread of its own, so that no trial waits for a server.

A trial that has ended is written whole, from the record that the study keeps; a trial that trains
longer than a few seconds has its run before that, and gets its new points now and then. What could
not be written is written at the end, or when the sweep is continued: the study is the record,
MLflow its display.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from cmir.errors import PlaceError, place_fault
from cmir.runner.studies.records import TrialRecord
from cmir.runner.tracking.client_runs import (
    ClientRuns,
    FoundRun,
    curve_points,
    ending_tags,
    milliseconds,
)
from cmir.runner.tracking.local_store import first_line

# Ray is imported with it, which this does without.
if TYPE_CHECKING:
    from cmir.runner.scheduling.trials_in_flight import TrialInFlight

# Seconds for which a server that failed is not asked again: each question may wait for half a
# minute, and a sweep may end a trial a second.
REST = 30.0
# More failures in a row are the server's, not those of single trials.
MOST_FAILURES = 2
# A trial that is younger, in seconds, has no run yet: most of these end before it is looked at.
YOUNG = 5.0


class TrialWriter:
    """Writes what it is told of, in order; the driver's thread tells, and never waits."""

    def __init__(
        self, runs: ClientRuns, uri: str, every: float, on_beat: Callable[[], None], is_new: bool
    ) -> None:
        """Begins to wait.

        Args:
            runs: of the store.
            uri: of the store, as it may be shown.
            every: seconds between two writings of trials that train; 0: never.
            on_beat: what else is written then; called by the writer's thread while trials train.
            is_new: whether the store holds nothing of the sweep yet.
        """
        self._runs, self._uri, self._every, self._on_beat = runs, uri, every, on_beat
        # The store may hold what an earlier run of the command wrote: the writer looks first.
        self._is_doubtful = not is_new
        self._written: dict[int, str] = {}
        self._begun: dict[int, FoundRun] = {}
        self._cut: dict[int, list[FoundRun]] = {}
        self._training: dict[int, TrialInFlight] = {}
        self._shown: dict[int, int] = {}
        self._backlog: deque[TrialRecord] = deque()
        self._failures, self._rests_until = 0, 0.0
        self.is_ending = False
        self._last_beat = time.monotonic()
        self.fault: PlaceError | None = None
        self.waiting: queue.Queue[TrialRecord | None] = queue.Queue()
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._thread.start()

    def begin(self, trial: TrialInFlight) -> None:
        """Takes a trial that trains from now on; its curves are read while they grow."""
        self._training[trial.number] = trial

    def end(self, record: TrialRecord) -> None:
        """Takes a trial that has ended.

        Raises:
            PlaceError: the disk of a store in a file here gave way; the study holds what it lacks.
        """
        self._training.pop(record.number, None)
        self.waiting.put(record)
        if self.fault is not None:
            raise self.fault

    def let_go(self, number: int) -> None:
        """Takes back a trial that will begin anew, and then with another run."""
        self._training.pop(number, None)

    def run_of(self, number: int) -> str | None:
        """The run of a trial, if it has been written."""
        return self._written.get(number)

    def stop(self) -> int:
        """Ends the thread, tries once more what failed; returns how many are still missing."""
        self.is_ending = True
        self.waiting.put(None)
        self._thread.join()
        self._failures = min(self._failures, 1)
        for _ in range(len(self._backlog)):
            if not self._backlog or self._failures > MOST_FAILURES:
                break
            self._write_next()
        if not self._failures and time.monotonic() >= self._rests_until:
            self._try(self._leave_none_running)
        return len(self._backlog)

    def _write_all(self) -> None:
        """The thread's loop: what failed waits in the backlog until the server answers again."""
        while not self.is_ending or not self.waiting.empty():
            with suppress(queue.Empty):
                record = self.waiting.get(timeout=min(self._every, YOUNG) or None)
                self._backlog += [record] if record is not None else []
            self._write_backlog()
            self._show_training()

    def _write_backlog(self) -> None:
        while self._backlog and time.monotonic() >= self._rests_until:
            if not self._write_next():
                break

    def _write_next(self) -> bool:
        """Writes the first of the backlog; one that fails goes to the end, and all rest."""
        record = self._backlog.popleft()
        try:
            self._write_one(record)
        except Exception as error:  # A server that went away must not end the sweep.
            logging.getLogger(__name__).warning(
                "trial %d is not in MLflow yet: %s", record.number, first_line(error)
            )
            self._rest(error)
            self._backlog.append(record)
            self._failures += 1
            return False
        self._failures = 0
        return True

    def _write_one(self, record: TrialRecord) -> None:
        number, tags = record.number, {}
        known = self._run_of(number, milliseconds(record.started))
        if number not in self._written:
            if known is None:
                known = self._begun[number] = self._runs.begin(record)
            else:
                tags = ending_tags(record)
            self._runs.fill(known.run, record, tags)
            self._written[number] = known.run
        self._begun.pop(number, None)
        self._shown.pop(number, None)

    def _show_training(self) -> None:
        """Begins the runs of trials that are not young any more; writes new points in time."""
        now = time.monotonic()
        if self.is_ending or not (self._training and self._every) or now < self._rests_until:
            return
        is_beat = now - self._last_beat >= self._every
        self._try(lambda: self._show_each(list(self._training.values()), is_beat))
        if is_beat:
            self._try(self._on_beat)
            # A slow server is not asked more than a fifth of the time.
            self._last_beat = max(now, now + 5 * (time.monotonic() - now) - self._every)

    def _show_each(self, trials: Iterable[TrialInFlight], is_beat: bool) -> None:
        for trial in trials:
            if self.is_ending or self._training.get(trial.number) is not trial:
                continue
            begun, is_young = self._begun.get(trial.number), self._is_young(trial)
            is_begun = begun is not None and begun.started == milliseconds(trial.began)
            if not is_begun and not is_young:
                self._begin(trial)
            if (is_beat or not is_begun) and not is_young:
                self._add_points(trial)

    def _is_young(self, trial: TrialInFlight) -> bool:
        return time.time() - trial.began < min(self._every, YOUNG)

    def _begin(self, trial: TrialInFlight) -> None:
        number = trial.number
        if self._run_of(number, milliseconds(trial.began)) is None:
            self._begun[number] = self._runs.begin_training(trial.asked, trial.began)
        self._shown[number] = 0

    def _add_points(self, trial: TrialInFlight) -> None:
        number, epochs = trial.number, len(trial.times)
        points = curve_points(
            dict(trial.curve), trial.began, trial.times[:epochs], self._shown.get(number, 0)
        )
        # The last epoch comes with the record, which knows the kept value.
        if epochs > self._shown.get(number, 0) and not trial.is_last:
            self._runs.add(self._begun[number].run, list(points))
            self._shown[number] = epochs

    def _run_of(self, number: int, started: int) -> FoundRun | None:
        """The run that a trial has already; those of its earlier beginnings are taken away."""
        if self._is_doubtful:
            # What was thought to have failed may have arrived, and only its answer been lost.
            self.look()
        known = self._cut.pop(number, [])
        known += [self._begun.pop(number)] if number in self._begun else []
        for found in known:
            is_wanted = number not in self._written and number not in self._begun
            if found.started == started and is_wanted:
                self._begun[number] = found
            elif found.run != self._written.get(number):
                self._runs.discard(found.run)
        return self._begun.get(number)

    def look(self) -> None:
        """Finds the runs of trials: those that are written, and those that were cut off."""
        self._cut = {}
        known = {found.run for found in self._begun.values()}
        for found in self._runs.find():
            if found.is_whole:
                self._written[found.trial] = found.run
            elif found.run not in known:
                self._cut.setdefault(found.trial, []).append(found)
        self._is_doubtful = False

    def _leave_none_running(self) -> None:
        """Ends the runs of trials that were interrupted, and takes earlier ones of them away."""
        if self._is_doubtful:
            self.look()
        for found in [one for runs in self._cut.values() for one in runs]:
            self._runs.discard(found.run)
        unwritten = {record.number for record in self._backlog}
        for number, begun in self._begun.items():
            if number not in unwritten:
                self._runs.stop(begun.run)

    def _try(self, write: Callable[[], None]) -> None:
        """Writes what may be missing for a while: a server that fails is left in peace."""
        try:
            write()
        except Exception as error:  # MLflow, requests and SQLAlchemy each raise their own.
            logging.getLogger(__name__).debug("not shown in MLflow yet", exc_info=True)
            self._rest(error)

    def _rest(self, error: Exception) -> None:
        self._note_fault(error)
        self._is_doubtful = True
        self._rests_until = time.monotonic() + REST

    def _note_fault(self, error: Exception) -> None:
        """A server that fails may come back by itself; a full disk here does not."""
        if place_fault(error) and self._uri.startswith("sqlite:"):
            self.fault = PlaceError(
                f"MLflow at {self._uri} cannot be written: {first_line(error)} The study holds "
                "every trial that has ended: make room, then run the same command again."
            )
