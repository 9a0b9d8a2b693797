"""Which of several trials with two objectives is taken: named rules over the front of both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cmir.metrics.metric_directions import direction
from cmir.metrics.non_dominated import by_layers, front
from cmir.runner.studies.records import TrialRecord
from cmir.sweep.leaderboard import score_of

Order = Callable[[Sequence["Point"]], list[int]]


@dataclass(frozen=True)
class Point:
    """A training by its two objectives, as losses: smaller is better.

    Attributes:
        first: mean over its seeds, and
        second: of the other objective.
        error: standard error of the first, its deviation over S seeds by sqrt(S).
    """

    first: float
    second: float
    error: float = 0.0

    @classmethod
    def of(
        cls, metrics: Mapping[str, float], seeds: int, objectives: Sequence[str]
    ) -> Point | None:
        """Of a training's metrics; None where one of the two is missing or not finite."""
        signs = [1.0 if direction(name.partition("/")[2]) == "min" else -1.0 for name in objectives]
        values = [metrics.get(name, math.nan) for name in objectives]
        if not all(map(math.isfinite, values)):
            return None
        first, second = (sign * value for sign, value in zip(signs, values, strict=True))
        return cls(first, second, metrics.get(f"{objectives[0]}_std", 0.0) / math.sqrt(seeds))


def within_error(points: Sequence[Point]) -> list[int]:
    """The best second objective among all within one standard error of the best first one.

    The one-standard-error rule (Breiman et al. 1984), the error being that of the best over its
    seeds: what lies within it is no worse as far as one can tell. The others follow by the first.
    """
    if not points:
        return []
    best = min(points, key=lambda point: point.first)
    bound = best.first + best.error

    def place(index: int) -> tuple[bool, float, float]:
        point = points[index]
        is_beyond = point.first > bound
        return is_beyond, point.first if is_beyond else point.second, point.first

    return sorted(range(len(points)), key=place)


def knee(points: Sequence[Point]) -> list[int]:
    """The bend of the front: furthest from the line between its ends, both scaled to 1.

    The others of the front follow by this distance, then what lies behind the front.
    """
    losses = np.array([(point.first, point.second) for point in points])
    on_front = front(losses)
    if len(on_front) == 0:
        return []
    ends = losses[on_front]
    low, spread = ends.min(axis=0), np.ptp(ends, axis=0)
    scaled = (ends - low) / np.where(spread > 0, spread, 1.0)
    nearest = sorted(range(len(on_front)), key=lambda place: float(scaled[place].sum()))
    ordered = [on_front[place] for place in nearest]
    return [*ordered, *(i for i in by_layers(losses, len(points)) if i not in on_front)]


PICKS: Mapping[str, Order] = {"within_error": within_error, "knee": knee}
DEFAULT = "within_error"


def points_of(records: Sequence[TrialRecord], objectives: Sequence[str]) -> dict[int, Point]:
    """The finished trials that have both values, by number."""
    found: dict[int, Point] = {}
    for record in sorted(records, key=lambda record: record.number):
        if record.outcome == "finished":
            seeds = len(record.config.seeds)
            point = Point.of(record.ending.metrics, seeds, objectives)
            found |= {} if point is None else {record.number: point}
    return found


def front_of(records: Sequence[TrialRecord], objectives: Sequence[str]) -> list[int]:
    """Numbers of the trials on the front, the best in the first objective first."""
    points = points_of(records, objectives)
    numbers = list(points)
    return [numbers[i] for i in front([(p.first, p.second) for p in points.values()])]


def with_second(
    table: pl.DataFrame, records: Sequence[TrialRecord], objectives: Sequence[str]
) -> pl.DataFrame:
    """The leaderboard of the first objective with the second one, and `front` beside it.

    `front` says whether no other trial beats a trial in both; null where it has not both values.
    """
    second, spread = objectives[1], f"{objectives[0]}_std"
    place = table.columns.index(spread) + 1
    by_number = {record.number: record for record in records}
    known, on_front = points_of(records, objectives), front_of(records, objectives)
    values = [score_of(by_number[number], second) for number in table["trial"]]
    marks = [number in on_front if number in known else None for number in table["trial"]]
    return (
        table.drop(second, strict=False)
        .insert_column(place, pl.Series(second, values, pl.Float64))
        .insert_column(place + 1, pl.Series("front", marks, pl.Boolean))
    )


def picked(
    records: Sequence[TrialRecord], objectives: Sequence[str], rule: str = DEFAULT
) -> int | None:
    """Number of the trial that a rule takes; None where no trial has both values."""
    points = points_of(records, objectives)
    order = PICKS[rule](list(points.values()))
    return list(points)[order[0]] if order else None
