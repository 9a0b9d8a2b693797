"""The picture of an ablation: how much each arm differs from the full configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmir.ablation.arm_results import VALIDATION
from cmir.metrics.metric_directions import direction
from cmir.sweep.plot_axes import (
    BLACK,
    GREEN,
    GREY,
    METRIC_LABEL,
    SPLIT_LABEL,
    VERMILION,
    dress,
    empty_figure,
    message,
)

FAMILY_LABEL: Mapping[str, str] = {
    "constraints": "without a constraint",
    "plain": "ERM baseline, as many parameters",
    "random": "control",
    "count": "number of views",
    "schemes": "another scheme",
    "penalties": "another penalty",
}
# So many usual intervals beyond the furthest difference an interval is cut off.
FURTHEST = 2.0

Row = Mapping[str, Any]


def forest(table: pl.DataFrame, metric: str, title: str) -> Figure:
    """Paired differences to the full configuration, with intervals, out of distribution and in it.

    Arms stand in families; a colour says whether the interval leaves out zero, and on which side.
    Arms that did not finish are named, rows that are its own training are left out.

    Args:
        table: from `ablation_table`, on validation data.
        metric: without its split.
        title: name of the ablation.
    """
    full = table["fingerprint"][0]
    rows = list(table.filter(pl.col("fingerprint") != full).iter_rows(named=True))
    if not rows or table["outcome"][0] != "finished":
        return message(
            f"Ablation {title}", "There is nothing to compare with the full configuration."
        )
    places, heads = _places(rows)
    height = max(places.values()) + 1.5
    headline = f"Ablation {title}: each arm less the full configuration"
    figure = empty_figure(11.0, 1.6 + 0.215 * height, headline)
    both = figure.subplots(1, 2, sharey=True)
    for axes, split in zip(both, reversed(VALIDATION), strict=True):
        _draw_split(axes, rows, places, f"{split}/{metric}", metric)
        _frame(axes, table, split, metric)
    both[0].set_ylim(height - 0.5, -0.8)
    both[0].set_yticks(list(places.values()), list(places), fontsize=8.5)
    _name_families(both[0], heads)
    _legend(figure)
    return figure


def _name_families(axes: Axes, heads: Mapping[str, float]) -> None:
    for family, place in heads.items():
        axes.text(
            -0.01,
            place,
            FAMILY_LABEL.get(family, family),
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=9,
            fontweight="bold",
            color=BLACK,
        )


def _places(rows: Sequence[Row]) -> tuple[dict[str, float], dict[str, float]]:
    """The height of every arm, and of every family's heading, from the top."""
    places: dict[str, float] = {}
    heads: dict[str, float] = {}
    place = 0.0
    for row in rows:
        if row["family"] not in heads:
            place += 0.5 if heads else 0.0
            heads[row["family"]] = place
            place += 1
        places[row["arm"]] = place
        place += 1
    return places, heads


def _draw_split(
    axes: Axes, rows: Sequence[Row], places: Mapping[str, float], key: str, metric: str
) -> None:
    known = [row for row in rows if row[f"{key}_difference"] is not None]
    low, high = _limits(known, key)
    for row in known:
        _draw_arm(axes, row, key, places[row["arm"]], (low, high), _colour(row, key, metric))
    for row in rows:
        if row["outcome"] != "finished":
            axes.text(0, places[row["arm"]], row["outcome"], ha="center", va="center", fontsize=8)
    margin = 0.04 * (high - low)
    axes.set_xlim(low - margin, high + margin)


def _colour(row: Row, key: str, metric: str) -> str:
    """Whether the interval leaves out zero, and on which side."""
    is_clear = row[f"{key}_low"] > 0 or row[f"{key}_high"] < 0
    sign = 1.0 if direction(metric) == "max" else -1.0
    is_better = sign * row[f"{key}_difference"] > 0
    return GREY if not is_clear else GREEN if is_better else VERMILION


def _draw_arm(
    axes: Axes, row: Row, key: str, place: float, limits: tuple[float, float], colour: str
) -> None:
    """An interval with its difference; an end beyond the limits is an arrow at the edge."""
    ends = (row[f"{key}_low"], row[f"{key}_high"])
    shown = np.clip(ends, *limits)
    axes.plot(shown, [place] * 2, color=colour, linewidth=1.8, zorder=2)
    for end, original in zip(shown, ends, strict=True):
        if end != original:
            axes.plot(end, place, ">" if original > end else "<", color=colour, ms=4)
    axes.plot(row[f"{key}_difference"], place, "o", color=colour, markersize=5.5, zorder=3)


def _frame(axes: Axes, table: pl.DataFrame, split: str, metric: str) -> None:
    key = f"{split}/{metric}"
    axes.axvline(0, color=BLACK, linewidth=1.0, zorder=1)
    dress(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(f"{SPLIT_LABEL[split]}: full {table[key][0]:.3f}", loc="left", fontsize=9.5)
    name = METRIC_LABEL.get(metric, metric)
    better = "← better" if direction(metric) == "min" else "better →"
    axes.set_xlabel(f"difference in {name}\n{better}", fontsize=9)


def _limits(rows: Sequence[Row], key: str) -> tuple[float, float]:
    """From the lowest interval to the highest, but not far beyond the differences themselves.

    Every difference is in sight, and so is zero; a few wide intervals do not press all others into
    one line. Where all are zero there is still a line to draw them on.
    """
    if not rows:
        return -1.0, 1.0
    values = [row[f"{key}_difference"] for row in rows]
    spare = max(
        1e-9,
        FURTHEST * float(np.median([abs(row[f"{key}_high"] - row[f"{key}_low"]) for row in rows])),
    )
    low = max(min(row[f"{key}_low"] for row in rows), min(values) - spare)
    high = min(max(row[f"{key}_high"] for row in rows), max(values) + spare)
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high > low else (-1.0, 1.0)


def _legend(figure: Figure) -> None:
    figure.legend(
        handles=[
            figure.axes[0].plot([], [], "o-", color=colour, label=label)[0]
            for colour, label in (
                (GREEN, "better than the full configuration"),
                (VERMILION, "worse than the full configuration"),
                (GREY, "interval includes zero"),
            )
        ],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
        title="bars: 95 % intervals over seeds and groups",
        title_fontsize=9,
    )
