"""What a person sees while jobs run: a live line, or plain lines without a terminal."""

from __future__ import annotations

import time
from collections import Counter
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cmir.runner.runner import RunStart
from cmir.runner.scheduling.trials_in_flight import Progress, TrialInFlight
from cmir.runner.studies.records import TrialRecord
from cmir.runner.studies.study import AskedTrial, counts
from cmir.runner.time_left import TimeLeft

REFRESH_SECONDS = 0.5


class RunDisplay:
    """Trials done, running, pruned, the best so far and the time left."""

    def __init__(self, console: Console, start: RunStart) -> None:
        self._console, self._start = console, start
        self._budget = start.total
        self._done = start.done
        self._time = TimeLeft(start.epochs, start.resources.concurrency)
        self._outcomes: Counter[str] = Counter()
        self._running: dict[int, int] = {}
        self._best: TrialRecord | None = None
        for record in start.records:
            self._count(record)
        self._shown = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> RunDisplay:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def summary(self) -> str:
        """How far it has come, as a sentence."""
        best = self._best
        score = "" if best is None or best.objective is None else f"{best.objective:.4f}"
        found = f", the best is trial {best.number} with {score}" if best and score else ""
        return f"{self._done} of {self._budget} are done{found}."

    def progress(self) -> Progress:
        """The hooks that a sweep calls."""
        return Progress(
            on_start=self._on_start,
            on_training=self._on_training,
            on_epoch=self._on_epoch,
            on_end=self._on_end,
            on_again=self._on_again,
            on_resume=self._on_resume,
            on_notice=self._say,
            on_tick=self._on_tick,
        )

    def _on_start(self, asked: AskedTrial) -> None:
        self._running[asked.number] = 0
        self._time.begin(asked.number)
        self._on_tick(now=True)

    def _on_training(self, trial: TrialInFlight) -> None:
        self._time.begin(trial.number, len(trial.times), trial.seconds)

    def _on_resume(self, number: int, epoch: int) -> None:
        self._running[number] = epoch
        self._say(f"trial {number:>3}  goes on after epoch {epoch}")

    def _on_epoch(self, number: int, epoch: int, objective: float) -> None:
        self._running[number] = epoch
        self._time.epoch(number, epoch, self._budget - self._done)

    def _on_end(self, record: TrialRecord) -> None:
        self._running.pop(record.number, None)
        self._done += counts(record)
        self._time.end(record.number, self._budget - self._done)
        self._count(record)
        self._print(record)
        self._on_tick(now=True)

    def _on_again(self, number: int, why: str) -> None:
        self._running.pop(number, None)
        self._time.let_go(number)
        if why:
            self._say(f"trial {number:>3}  runs again: {why}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _count(self, record: TrialRecord) -> None:
        """Takes an ended trial into what is shown of the whole sweep, of earlier starts too."""
        self._outcomes[record.outcome] += 1
        if record.outcome == "finished" and self._is_better(record):
            self._best = record

    def _on_tick(self, now: bool = False) -> None:
        if self._live.is_started and (now or time.monotonic() - self._shown > REFRESH_SECONDS):
            self._shown = time.monotonic()
            self._live.update(self._line(), refresh=True)

    def _is_better(self, record: TrialRecord) -> bool:
        if self._best is None or self._best.objective is None or record.objective is None:
            return True
        return self._start.sign * (record.objective - self._best.objective) > 0

    def _print(self, record: TrialRecord) -> None:
        score = "" if record.objective is None else f"{record.objective:.4f}"
        best = " *" if record is self._best else ""
        self._console.print(
            f"trial {record.number:>3}  {record.outcome:<8}  {score:>8}{best:<2}  "
            f"{record.name:<16} {record.ending.seconds:6.1f} s  "
            f"[{self._done}/{self._budget}, {self._left()}]{_why(record)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def _line(self) -> Text:
        best = "-" if self._best is None else f"{self._best.objective:.4f}"
        running = ", ".join(f"{n} (epoch {e})" for n, e in sorted(self._running.items()))
        counted = "  ".join(f"{name} {number}" for name, number in sorted(self._outcomes.items()))
        return Text(
            f"{self._done}/{self._budget} done  {counted}  "
            f"best {best}  {self._left()}  running: {running}",
            overflow="ellipsis",
            no_wrap=True,
        )

    def _left(self) -> str:
        return str(self._time) if self._done < self._budget else "done"


class Displays:
    """One display after the other: the next takes the last one's place, and the end takes it away.

    For commands that train more than once.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: RunDisplay | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Takes away what is shown."""
        if self._shown is not None:
            self._shown.__exit__()

    def show(self, start: RunStart) -> Progress:
        """Shows a run from now on, and says how much of it was done before; returns its hooks."""
        self.close()
        self._shown = RunDisplay(self._console, start).__enter__()
        if start.done:
            self._console.print(f"{start.done} of {start.total} are done", highlight=False)
        return self._shown.progress()


def _why(record: TrialRecord) -> str:
    """Why a trial did not finish, in one line, and where the whole of it is."""
    reason = record.ending.reason.splitlines()
    where = f" (traceback.txt of its run in MLflow, {record.number:03d} {record.name})"
    return f" {reason[0][:300]}{where if record.ending.traceback else ''}" if reason else ""
