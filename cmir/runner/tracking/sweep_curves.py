"""How far a sweep is, as curves of its run: counts of its outcomes, and the best so far."""

from __future__ import annotations

import math
from collections import Counter

from mlflow.entities import Metric

from cmir.metrics.metric_directions import direction
from cmir.runner.studies.records import OUTCOMES, TrialRecord

BEST = "best/objective"
COUNTS = {outcome: f"trials/{outcome}" for outcome in OUTCOMES}


class SweepCurves:
    """Points of a sweep's curves, as trials end.

    A point's step is the number of trials that have ended, its time that of the ending: of the
    same trials the points are the same. An ending is a point of its outcome's count, and of the
    best objective where it is better than all before.
    """

    def __init__(self, known: int = 0) -> None:
        """Starts without trials; the points of the first `known` endings are in the store."""
        self._known, self._ended = known, 0
        self._counted: Counter[str] = Counter()
        self._best = math.nan
        self._new: list[Metric] = []

    def add(self, record: TrialRecord) -> None:
        """Takes the next trial that has ended."""
        self._ended += 1
        self._counted[record.outcome] += 1
        values = {COUNTS[record.outcome]: float(self._counted[record.outcome])}
        if record.outcome == "finished" and self._is_better(record):
            values[BEST] = self._best = float(record.objective or 0.0)
        if self._ended > self._known:
            when = int(record.ended * 1000)
            self._new += [Metric(key, value, when, self._ended) for key, value in values.items()]

    def points(self, most: int) -> list[Metric]:
        """The first points that have not been kept."""
        return self._new[:most]

    def keep(self, count: int) -> None:
        """So many of them are in the store."""
        del self._new[:count]

    def _is_better(self, record: TrialRecord) -> bool:
        value = record.objective
        if value is None or not math.isfinite(value):
            return False
        is_high = direction(record.config.objective.partition("/")[2]) == "max"
        return math.isnan(self._best) or (value > self._best if is_high else value < self._best)
