"""Picture of a sweep with two objectives: its trials, the front of both, what a rule picks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmir.runner.studies.records import TrialRecord
from cmir.sweep.leaderboard import score_of
from cmir.sweep.pairs.picks import DEFAULT, front_of, picked, points_of
from cmir.sweep.plot_axes import (
    BLUE,
    GREEN,
    PALE,
    VERMILION,
    Spots,
    blank,
    dots_for,
    legend,
    message,
    set_window,
    steps_of_front,
    window_of,
)

PICK_STYLE: Mapping[str, tuple[str, float]] = {"within_error": (VERMILION, 14), "knee": (GREEN, 18)}


def front_of_both(records: Sequence[TrialRecord], objectives: Sequence[str]) -> Figure:
    """Finished trials by both objectives, the front as steps, and what each rule picks.

    The band is one standard error about the best first value, within which `within_error` picks.

    Args:
        records: of one sweep.
        objectives: the two, as the sweep file names them.
    """
    title = f"{objectives[0]} against {objectives[1]}"
    numbers = list(points_of(records, objectives))
    if not numbers:
        return message(title, "No finished trial has both objectives.")
    scores = {r.number: _scores(r, objectives) for r in records if r.number in numbers}
    windows = [window_of([s[side] for s in scores.values()], objectives[side]) for side in (0, 1)]
    places = {n: (windows[0].clip(a), windows[1].clip(b)) for n, (a, b) in scores.items()}
    figure, axes = blank(7.2, 6.4, title)
    _draw_trials(axes, places)
    front = front_of(records, objectives)
    steps_of_front(axes, places, front, f"Pareto front ({len(front)})")
    _draw_error(axes, records, objectives)
    _ring_picks(axes, records, objectives, places)
    set_window(axes, "x", windows[0], objectives[0])
    set_window(axes, "y", windows[1], objectives[1])
    legend(figure, axes, 2)
    return figure


def _scores(record: TrialRecord, objectives: Sequence[str]) -> tuple[float, float]:
    first, second = (score_of(record, name) for name in objectives)
    assert first is not None
    assert second is not None
    return first, second


def _draw_trials(axes: Axes, places: Spots) -> None:
    dots = dots_for(len(places))
    across, up = zip(*places.values(), strict=True)
    axes.scatter(
        across,
        up,
        s=30 * dots.diameter**2,
        color=BLUE,
        linewidths=0.8 * dots.edge,
        edgecolors="white",
        alpha=dots.opacity,
        label=f"finished trial ({len(places)})",
        zorder=3,
    )


def _draw_error(axes: Axes, records: Sequence[TrialRecord], objectives: Sequence[str]) -> None:
    points = points_of(records, objectives)
    best = min(points, key=lambda number: points[number].first)
    value = next(_scores(record, objectives)[0] for record in records if record.number == best)
    error = points[best].error
    if error > 0:
        told = "± one standard error of the best first"
        axes.axvspan(value - error, value + error, color=PALE, zorder=0.5, label=told)


def _ring_picks(
    axes: Axes, records: Sequence[TrialRecord], objectives: Sequence[str], places: Spots
) -> None:
    for rule, (colour, size) in PICK_STYLE.items():
        number = picked(records, objectives, rule)
        assert number is not None
        usual = " (default)" if rule == DEFAULT else ""
        axes.plot(
            *places[number],
            marker="o",
            linestyle="",
            markersize=size,
            markeredgewidth=1.6,
            color=colour,
            fillstyle="none",
            zorder=4,
            label=f"{rule}{usual}: trial {number}",
        )
