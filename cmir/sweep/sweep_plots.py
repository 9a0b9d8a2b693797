"""Pictures of a sweep, drawn from its trial records without any global state of matplotlib."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from textwrap import wrap

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cmir.runner.studies.records import OUTCOMES, Outcome, TrialRecord
from cmir.sweep.importance import FEWEST_FINISHED, SHUFFLES, importance_beside_chance
from cmir.sweep.leaderboard import (
    best_trial,
    finished,
    is_lower_better,
    pareto_front,
    schemes_compared,
    score_of,
    validation_scores,
    value_of,
)
from cmir.sweep.plot_axes import (
    BLACK,
    BLUE,
    GREY,
    OUTCOME_STYLE,
    SCHEME_STYLES,
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

MOST_BARS = 15
FEWEST_IN_BOX = 5
MOST_UNFINISHED = 12
VALUELESS = ("diverged", "failed")


def objective_over_trials(
    records: Sequence[TrialRecord], objective: str, start_points: Collection[int] = ()
) -> Figure:
    """Each trial's objective by its number, the best so far as a line, start points ringed.

    Trials without an objective (diverged, failed) stand at the edge on the worse side.

    Args:
        records: of one sweep; may be empty.
        objective: `split/metric`.
        start_points: numbers of the trials that the sweep file prescribed.

    Raises:
        InputError: the objective's metric is unknown; so in all functions of this module.
    """
    if not records:
        return message("Objective over trials", "No trial has ended yet.")
    figure, axes = blank(8.0, 4.8, _headline(records, objective))
    values = {r.number: value for r in records if (value := value_of(r)) is not None}
    window = window_of(list(values.values()), objective)
    heights = dict.fromkeys((record.number for record in records), window.edge)
    heights |= {number: window.clip(value) for number, value in values.items()}
    for outcome in OUTCOMES:
        _draw_outcome(axes, outcome, [r.number for r in records if r.outcome == outcome], heights)
    _draw_best_so_far(axes, records, objective)
    _ring_start_points(axes, {n: heights[n] for n in start_points if n in heights})
    set_window(axes, "y", window, objective)
    axes.set_xlabel("trial, in the order in which they began")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend(figure, axes, 3)
    return figure


def parameter_importance(records: Sequence[TrialRecord], objective: str) -> Figure:
    """Share of each searched parameter as a bar, with the share it might have by chance."""
    shares, chance = importance_beside_chance(records, objective)
    title = "What separates the best trials from the rest"
    if not shares:
        needed = f"This needs at least {FEWEST_FINISHED} finished trials that differ"
        return message(title, f"{needed}; so far {len(finished(records))} have finished.")
    shown = list(shares)[:MOST_BARS]
    figure, axes = blank(8.0, 1.9 + 0.32 * len(shown), title)
    _draw_bars(axes, shown, shares, chance)
    judged = sum(record.outcome != "failed" for record in records)
    axes.set_xlabel(f"share of importance (PED-ANOVA of {objective} over {_trials(judged)})")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    legend(figure, axes, 3)
    return figure


def in_against_out_of_distribution(records: Sequence[TrialRecord], objective: str) -> Figure:
    """Finished trials by their score in and out of distribution, the Pareto front and the best.

    Bars are one standard deviation over the seeds, of the trials on the front.
    """
    metric = objective.partition("/")[2]
    scores = validation_scores(records, objective)
    title = "In distribution against out of distribution"
    if not scores:
        return message(title, f"No finished trial has {metric} on both validation splits.")
    figure, axes = blank(7.2, 6.4, title)
    keys = (f"id_val/{metric}", f"ood_val/{metric}")
    windows = [window_of([pair[side] for pair in scores.values()], keys[side]) for side in (0, 1)]
    points = {n: (windows[0].clip(a), windows[1].clip(b)) for n, (a, b) in scores.items()}
    _draw_by_scheme(axes, records, objective, points)
    _draw_front(axes, records, objective, points)
    _mark_best(axes, records, objective, points)
    set_window(axes, "x", windows[0], keys[0])
    set_window(axes, "y", windows[1], keys[1])
    _draw_no_gap(axes)
    legend(figure, axes, 3)
    return figure


def schemes_side_by_side(records: Sequence[TrialRecord], objective: str) -> Figure:
    """The objective of every finished trial, a row for each scheme, the best scheme on top."""
    title = "Environment schemes compared"
    if not finished(records):
        return message(title, "No trial has finished yet.")
    every = schemes_compared(records, objective)
    table = every.filter(pl.col("finished") > 0)
    figure, axes = blank(8.0, 1.8 + 0.5 * len(table), title)
    by_scheme = [_values_of(records, scheme) for scheme in table["scheme"]]
    window = window_of([value for values in by_scheme for value in values], objective)
    rows = [[window.clip(value) for value in values] for values in by_scheme]
    _draw_boxes(axes, rows)
    _draw_strips(axes, rows)
    axes.set_yticks(range(len(table)), _row_labels(table))
    axes.set_ylim(len(table) - 0.4, -0.6)
    set_window(axes, "x", window, objective)
    _name_unfinished(axes, every.filter(pl.col("finished") == 0))
    legend(figure, axes, 3)
    return figure


def _headline(records: Sequence[TrialRecord], objective: str) -> str:
    best = best_trial(records, objective)
    if best is None:
        return f"{_trials(len(records))} ended, none finished"
    found = f"{value_of(best):.4g} (trial {best.number}, {best.scheme})"
    return f"Best of {_trials(len(records))}: {found}"


def _trials(number: int) -> str:
    return "1 trial" if number == 1 else f"{number} trials"


def _draw_outcome(
    axes: Axes, outcome: Outcome, numbers: Sequence[int], heights: Mapping[int, float]
) -> None:
    colour, marker = OUTCOME_STYLE[outcome]
    dots = dots_for(len(heights))
    if numbers:
        axes.plot(
            numbers,
            [heights[number] for number in numbers],
            linestyle="",
            color=colour,
            marker=marker,
            markersize=(6 if len(heights) < 150 else 4) * dots.diameter,
            markeredgecolor="white",
            markeredgewidth=dots.edge,
            alpha=dots.opacity,
            clip_on=False,
            label=f"{outcome}{', no value' if outcome in VALUELESS else ''} ({len(numbers)})",
        )


def _draw_best_so_far(axes: Axes, records: Sequence[TrialRecord], objective: str) -> None:
    ended = sorted(finished(records), key=lambda record: record.number)
    if not ended:
        return
    values = [value for record in ended if (value := value_of(record)) is not None]
    running = (np.minimum if is_lower_better(objective) else np.maximum).accumulate(values)
    numbers = [record.number for record in ended]
    last = max(record.number for record in records)
    axes.step(
        [*numbers, last],
        [*running, running[-1]],
        where="post",
        color=BLACK,
        linewidth=1.3,
        label="best so far",
        zorder=1.5,
    )


def _ring_start_points(axes: Axes, heights: Mapping[int, float]) -> None:
    if heights:
        axes.plot(
            list(heights),
            list(heights.values()),
            linestyle="",
            marker="o",
            markersize=12,
            markerfacecolor="none",
            markeredgecolor=BLACK,
            clip_on=False,
            label=f"start point ({len(heights)})",
        )


def _draw_bars(
    axes: Axes, shown: Sequence[str], shares: Mapping[str, float], chance: Mapping[str, float]
) -> None:
    for is_clear, label, colour in (
        (True, "more than by chance", BLUE),
        (False, "could be chance", "#B5C7D3"),
    ):
        rows = [n for n, key in enumerate(shown) if (shares[key] > chance[key]) == is_clear]
        if rows:
            widths = [shares[shown[row]] for row in rows]
            axes.barh(rows, widths, height=0.62, color=colour, label=label)
    axes.plot(
        [chance[key] for key in shown],
        range(len(shown)),
        linestyle="",
        marker="|",
        markersize=15,
        markeredgewidth=1.6,
        color=BLACK,
        label=f"most by chance, in {SHUFFLES} random rankings",
    )
    # Not at the bars, where the marks of chance are.
    axes.set_yticks(range(len(shown)), [f"{key}   {shares[key]:.0%}" for key in shown])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(0.0, 1.08 * max(*shares.values(), *chance.values()))


def _draw_by_scheme(
    axes: Axes, records: Sequence[TrialRecord], objective: str, points: Spots
) -> None:
    """A colour and marker for each of the first schemes by best trial, grey for the others."""
    schemes = {record.number: record.scheme for record in records if record.number in points}
    ranked = [s for s in schemes_compared(records, objective)["scheme"] if s in schemes.values()]
    dots = dots_for(len(points))
    for place, (colour, marker) in enumerate([*SCHEME_STYLES, (GREY, "h")]):
        rest = place == len(SCHEME_STYLES)
        named = ranked[place:] if rest else ranked[place : place + 1]
        inside = [points[number] for number, scheme in schemes.items() if scheme in named]
        if inside:
            axes.scatter(
                [x for x, _ in inside],
                [y for _, y in inside],
                s=30 * dots.diameter**2,
                color=colour,
                marker=marker,
                linewidths=0.8 * dots.edge,
                edgecolors="white",
                alpha=dots.opacity,
                label=f"{f'{len(named)} other schemes' if rest else named[0]} ({len(inside)})",
                zorder=3,
            )


def _draw_front(axes: Axes, records: Sequence[TrialRecord], objective: str, points: Spots) -> None:
    front = pareto_front(records, objective)
    across, up = zip(*(points[number] for number in front), strict=True)
    by_number = {record.number: record for record in records}
    spread = [
        [
            score_of(by_number[number], f"{split}/{objective.partition('/')[2]}_std") or 0.0
            for number in front
        ]
        for split in ("id_val", "ood_val")
    ]
    axes.errorbar(
        across,
        up,
        xerr=spread[0],
        yerr=spread[1],
        fmt="none",
        ecolor="#B5B5B5",
        elinewidth=0.8,
        label="± standard deviation over seeds",
    )
    steps_of_front(axes, points, front, "Pareto front")


def _mark_best(axes: Axes, records: Sequence[TrialRecord], objective: str, points: Spots) -> None:
    best = best_trial(records, objective)
    if best is None or best.number not in points:
        return
    axes.plot(
        *points[best.number],
        marker="o",
        linestyle="",
        markersize=14,
        markeredgewidth=1.6,
        color=VERMILION,
        fillstyle="none",
        zorder=4,
        label=f"best {objective}: trial {best.number}",
    )


def _draw_no_gap(axes: Axes) -> None:
    """Where both scores are equal, unless hardly any of it is in sight."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    low, high = max(left, bottom), min(right, top)
    if high - low > 0.15 * (right - left):
        axes.plot([low, high], [low, high], ":", color=GREY, label="equal in and out")


def _values_of(records: Sequence[TrialRecord], scheme: str) -> list[float]:
    return [v for r in finished(records) if r.scheme == scheme and (v := value_of(r)) is not None]


def _draw_boxes(axes: Axes, rows: Sequence[Sequence[float]]) -> None:
    """Quartiles of the schemes that have enough trials for them."""
    boxed = {place: values for place, values in enumerate(rows) if len(values) >= FEWEST_IN_BOX}
    if not boxed:
        return
    axes.boxplot(
        list(boxed.values()),
        positions=list(boxed),
        orientation="horizontal",
        widths=0.55,
        showfliers=False,
        showcaps=False,
        boxprops={"color": GREY},
        whiskerprops={"color": GREY},
        medianprops={"linewidth": 0},
        manage_ticks=False,
    )


def _draw_strips(axes: Axes, rows: Sequence[Sequence[float]]) -> None:
    """Every trial, jittered across its row, and the median where it is not the only one."""
    places = np.repeat(np.arange(len(rows)), [len(values) for values in rows])
    jitter = np.random.default_rng(0).uniform(-0.18, 0.18, len(places))
    values = [value for row in rows for value in row]
    dots = dots_for(len(values))
    axes.scatter(
        values,
        places + jitter,
        s=22 * dots.diameter**2,
        color=BLUE,
        alpha=0.75 * dots.opacity,
        linewidths=0,
        label="finished trial",
    )
    medians = {n: float(np.median(row)) for n, row in enumerate(rows) if len(row) > 1}
    axes.plot(
        list(medians.values()),
        list(medians),
        marker="|",
        linestyle="",
        markersize=19,
        markeredgewidth=2.4,
        color=BLACK,
        label="median",
    )


def _row_labels(table: pl.DataFrame) -> list[str]:
    return [
        f"{row['scheme']}\n{row['finished']} of {row['trials']} finished"
        for row in table.iter_rows(named=True)
    ]


def _name_unfinished(axes: Axes, table: pl.DataFrame) -> None:
    """The schemes of which no trial finished, in a line below the axis."""
    if table.is_empty():
        return
    rows = table.sort("trials", descending=True).rows(named=True)
    named = [f"{row['scheme']} ({row['trials']})" for row in rows[:MOST_UNFINISHED]]
    more = f", and {len(rows) - len(named)} more" if len(rows) > len(named) else ""
    text = f"no trial finished of: {', '.join(named)}{more}"
    axes.set_xlabel("\n".join([axes.get_xlabel(), *wrap(text, 92)]))
