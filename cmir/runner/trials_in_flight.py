"""Packs in training as the driver knows them: their curves grow, and their endings are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cmir.runner.records import Ending, TrialRecord
from cmir.runner.rungs import Rungs
from cmir.runner.study import AskedTrial, SweepStudy

DIED = "its worker process died (out of memory, or ended from outside)"


@dataclass
class Progress:
    """Watches a sweep; every method may be called at any time from the driver's loop."""

    on_start: Callable[[AskedTrial], None] = lambda trial: None
    on_epoch: Callable[[int, int, float], None] = lambda number, epoch, objective: None
    on_end: Callable[[TrialRecord], None] = lambda record: None
    on_tick: Callable[[], None] = lambda: None
    on_sizes: Callable[[int, int], None] = lambda made, possible: None


@dataclass
class Member:
    """A trial in flight: its curve, its last report and its share of its pack's seconds."""

    epoch: int = 0
    curve: dict[str, list[float]] = field(default_factory=dict)
    last: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    partition: Mapping[str, Any] = field(default_factory=dict)

    def note(self, row: Mapping[str, Any], seconds: float) -> None:
        """Takes one row of a worker's report."""
        self.seconds += seconds
        self.partition = row.get("partition", self.partition)
        if "epoch" not in row:
            return
        self.epoch, self.last = int(row["epoch"]), row
        _extend(self.curve, row)

    def ended(self, outcome: Mapping[str, Any]) -> Ending:
        """Its ending, with what is known of its way there."""
        known = {"curve": self.curve, "seconds": self.seconds, "partition": self.partition}
        return Ending(**{**known, **outcome})

    def pruned(self) -> Ending:
        """Its ending where it lagged at a rung: with its last values."""
        last = {name: self.last[name] for name in ("objective", "metrics")}
        return self.ended({"outcome": "pruned", **last})


class RunningPacks:
    """The packs in training, by the name of their Ray trial."""

    def __init__(self, study: SweepStudy, rungs: Rungs, progress: Progress) -> None:
        """Starts with none; `rungs` are told of the study's ended trials."""
        self._study, self._rungs, self._progress = study, rungs, progress
        self._packs: dict[str, dict[int, Member]] = {}
        for record in study.records():
            curve = record.ending.curve.get("objective", ())
            rungs.replay([self._score(value) for value in curve])

    def __len__(self) -> int:
        """Number of packs."""
        return len(self._packs)

    def left(self, epochs: int) -> float:
        """The work left in them, in trainings of so many epochs."""
        members = [member for pack in self._packs.values() for member in pack.values()]
        return sum(1 - member.epoch / epochs for member in members)

    def start(self, name: str, pack: Sequence[AskedTrial]) -> None:
        """Takes a pack that is about to train."""
        self._packs[name] = {asked.number: Member() for asked in pack}
        for asked in pack:
            self._progress.on_start(asked)

    def take(self, name: str, rows: Sequence[Mapping[str, Any]], seconds: float) -> list[int]:
        """Takes the rows of one step, which took so many seconds.

        Returns:
            the members that lag at a rung and shall train no longer.
        """
        pack = self._packs.get(name, {})
        rows = [row for row in rows if row["number"] in pack]
        for row in rows:
            self._note(pack[row["number"]], row, seconds / len(rows))
        lagging = self._judge(rows)
        for row in rows:
            number = row["number"]
            if "ending" in row:
                self._tell(number, pack.pop(number).ended(row["ending"]))
            elif number in lagging:
                self._tell(number, pack.pop(number).pruned())
        return lagging

    def close(self, name: str, died: bool) -> None:
        """Ends a pack: who still trains has failed if its worker died, or was interrupted."""
        for number, member in self._packs.pop(name, {}).items():
            if died:
                self._tell(number, member.ended({"outcome": "failed", "reason": DIED}))

    def _note(self, member: Member, row: Mapping[str, Any], seconds: float) -> None:
        member.note(row, seconds)
        if "epoch" in row:
            self._progress.on_epoch(row["number"], member.epoch, float(row["objective"]))

    def _judge(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Who stops of those that go on; who has finished counts at its rung."""
        going: dict[int, float] = {}
        for row in rows:
            if "epoch" not in row:
                continue
            if "ending" in row:
                self._rungs.enter(row["epoch"], self._score(row["objective"]))
            else:
                going[row["number"]] = self._score(row["objective"])
        epochs = {row["epoch"] for row in rows if "epoch" in row}
        return self._rungs.judge(epochs.pop(), going) if going else []

    def _score(self, objective: float) -> float:
        return self._study.sign * objective

    def _tell(self, number: int, ending: Ending) -> None:
        self._progress.on_end(self._study.tell(number, ending))


def _extend(curve: dict[str, list[float]], row: Mapping[str, Any]) -> None:
    curve.setdefault("objective", []).append(float(row["objective"]))
    for name, value in row["metrics"].items():
        if not name.endswith("_std"):
            curve.setdefault(name, []).append(round(float(value), 6))
