"""Picture of a sweep's settings side by side: a line for each finished trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cmir.runner.studies.records import TrialRecord
from cmir.sweep.importance import importance_beside_chance
from cmir.sweep.leaderboard import finished, ranked, value_of
from cmir.sweep.plot_axes import BLACK, BLUE, GREY, PALE, VERMILION, blank, message

TITLE = "What the best trials have in common"
MOST_SETTINGS = 9
MOST_LINES = 600
# An axis with so many different values names each, one with more its ends and its middle.
MOST_TICKS = 5
BEST_SHARE = 0.1
# Where a line passes a setting that its trial does not have.
UNUSED = -0.13
# Numbers that differ by more than this stand on a log scale.
LOG_FROM = 30.0


@dataclass(frozen=True)
class Axis:
    """One upright axis: heights from 0 to 1, and the values written beside it."""

    name: str
    heights: Mapping[int, float]
    ticks: Mapping[float, str]


def parallel_coordinates(records: Sequence[TrialRecord], objective: str) -> Figure:
    """Settings as upright axes, the objective as the last; the best tenth of the trials in blue.

    The settings that separate the best trials most stand first, nine at most. A conditional setting
    that a trial does not have is passed below its axis.
    """
    ordered = ranked(records, objective)
    axes_of = [_axis(key, ordered) for key in leading_settings(records, objective)]
    if not axes_of:
        return message(TITLE, "No finished trial has a setting that differs.")
    axes_of.append(_objective_axis(ordered, objective))
    figure, axes = blank(2.6 + 1.15 * len(axes_of), 5.2, TITLE)
    lines = [[axis.heights.get(r.number, UNUSED) for axis in axes_of] for r in ordered]
    best = max(1, min(round(BEST_SHARE * len(lines)), 30))
    shown = best + np.linspace(0, len(lines) - best - 1, min(MOST_LINES, len(lines) - best))
    _draw_lines(axes, [lines[int(place)] for place in shown], GREY, 0.7, 0.35)
    _draw_lines(axes, lines[1:best], BLUE, 1.3, 0.8)
    _draw_lines(axes, lines[:1], VERMILION, 2.2, 1.0)
    _draw_axes(axes, axes_of)
    _legend(figure, ordered[0].number, best, len(lines))
    return figure


def leading_settings(records: Sequence[TrialRecord], objective: str) -> list[str]:
    """The searched settings that differ between finished trials, those that matter most first."""
    shares, _ = importance_beside_chance(records, objective)
    found: dict[str, set[str]] = {}
    for record in finished(records):
        for key, value in record.params.items():
            found.setdefault(key, set()).add(str(value))
    differ = [key for key, values in sorted(found.items()) if len(values) > 1]
    return sorted(differ, key=lambda key: -shares.get(key, 0.0))[:MOST_SETTINGS]


def are_numbers(values: Iterable[Any]) -> bool:
    """Whether a setting is a number in all of these trials."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def is_wide(low: float, high: float) -> bool:
    """Whether numbers from `low` to `high` stand on a log scale."""
    return low > 0 and high / low > LOG_FROM


def _axis(key: str, ended: Sequence[TrialRecord]) -> Axis:
    values = {r.number: r.params[key] for r in ended if key in r.params}
    if are_numbers(values.values()):
        return _number_axis(key, {n: float(v) for n, v in values.items()})
    return _choice_axis(key, {n: str(v) for n, v in values.items()})


def _number_axis(name: str, values: Mapping[int, float]) -> Axis:
    low, high = min(values.values()), max(values.values())
    is_log = is_wide(low, high)
    scale = np.log if is_log else np.asarray
    ends = scale(low), scale(high)
    reach = float(ends[1] - ends[0]) or 1.0
    heights = {n: float(scale(v) - ends[0]) / reach for n, v in values.items()}
    middle = float(np.exp(np.mean(ends)) if is_log else np.mean(ends))
    ticks = {heights[n]: f"{v:.3g}" for n, v in values.items()}
    if len(ticks) > MOST_TICKS:
        ticks = {0.0: f"{low:.2g}", 0.5: f"{middle:.2g}", 1.0: f"{high:.2g}"}
    return Axis(name, heights, ticks)


def _choice_axis(name: str, values: Mapping[int, str]) -> Axis:
    choices = sorted(set(values.values()))
    place = {choice: n / max(1, len(choices) - 1) for n, choice in enumerate(choices)}
    return Axis(name, {n: place[v] for n, v in values.items()}, {h: c for c, h in place.items()})


def _objective_axis(ordered: Sequence[TrialRecord], objective: str) -> Axis:
    """Trials by rank, the best on top: scores themselves would press all into one end."""
    last = max(1, len(ordered) - 1)
    heights = {record.number: 1.0 - rank / last for rank, record in enumerate(ordered)}
    ends = (ordered[-1], ordered[len(ordered) // 2], ordered[0])
    ticks = {h: f"{value_of(r):.3g}" for h, r in zip((0.0, 0.5, 1.0), ends, strict=True)}
    return Axis(f"{objective}\n(by rank)", heights, ticks)


def _draw_lines(
    axes: Axes, lines: Sequence[Sequence[float]], colour: str, width: float, opacity: float
) -> None:
    drawn: Any = [list(enumerate(line)) for line in lines]
    axes.add_collection(
        LineCollection(drawn, colors=colour, linewidths=width, alpha=opacity, capstyle="round")
    )


def _draw_axes(axes: Axes, every: Sequence[Axis]) -> None:
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set(xlim=(-0.25, len(every) - 0.35), ylim=(UNUSED - 0.06, 1.06), yticks=[])
    axes.vlines(range(len(every)), 0, 1, color=BLACK, linewidth=0.9, zorder=3)
    axes.axhline(UNUSED, color=PALE, linewidth=0.8, zorder=0)
    axes.text(-0.28, UNUSED, "not used", ha="right", va="center", fontsize=8, color=GREY)
    names = [axis.name.replace(".", ".\n", 1) for axis in every]
    axes.set_xticks(range(len(every)), names, fontsize=8.5)
    axes.tick_params(axis="x", length=0)
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.6}
    for place, axis in enumerate(every):
        for height, text in axis.ticks.items():
            axes.text(place + 0.05, height, text, fontsize=8, va="center", bbox=box, zorder=4)


def _legend(figure: Figure, first: int, best: int, count: int) -> None:
    named = [(VERMILION, 2.2, f"best: trial {first}"), (GREY, 0.7, f"finished ({count})")]
    if best > 1:
        named.insert(1, (BLUE, 1.3, f"best {best}"))
    figure.legend(
        handles=[Line2D([], [], color=c, linewidth=w, label=label) for c, w, label in named],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )
