"""Picture of where a model errs: predicted against true, by label and by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmir.data import SplitData
from cmir.method.training.split_scores import evaluation_groups
from cmir.promotion.comparison import group_names
from cmir.sweep.plot_axes import BLACK, BLUE, GREY, ORANGE, dots_for, dress, empty_figure

BINS = 7
MOST_GROUPS = 20
# Known groups behind, new ones in front.
COLOUR = {"id_val": GREY, "ood_val": BLUE}
SHIFT = {"id_val": -0.06, "ood_val": 0.06}
SHOWN = {"id_val": "known groups (id_val)", "ood_val": "new groups (ood_val)"}

Values = npt.NDArray[np.float64]


def error_picture(served: Mapping[str, Values], splits: Mapping[str, SplitData]) -> Figure:
    """Three panels for a regression: predictions over labels, errors by label, errors by group.

    Args:
        served: the served predictions `(n,)` in label units, of `id_val` and `ood_val`.
        splits: these splits, among others.
    """
    figure = empty_figure(13.0, 4.9, "Where this model errs, as served (validation data)")
    first, second, third = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 1.1))
    _draw_points(first, served, splits)
    _draw_by_label(second, served, splits)
    _draw_by_group(third, served["ood_val"], splits["ood_val"])
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _draw_points(axes: Axes, served: Mapping[str, Values], splits: Mapping[str, SplitData]) -> None:
    dress(axes, "Predicted against true")
    for name, colour in COLOUR.items():
        dots = dots_for(len(served[name]))
        axes.scatter(
            splits[name].labels,
            served[name],
            s=16 * dots.diameter**2,
            color=colour,
            alpha=0.55 * dots.opacity,
            linewidths=0,
            label=SHOWN[name],
        )
    every = np.concatenate([np.asarray(splits[name].labels) for name in COLOUR])
    ends = [float(every.min()), float(every.max())]
    axes.plot(ends, ends, "--", color=BLACK, linewidth=1.0, label="no error")
    axes.set(xlabel="label", ylabel="prediction (mean over the seeds)")


def _draw_by_label(
    axes: Axes, served: Mapping[str, Values], splits: Mapping[str, SplitData]
) -> None:
    """Mean signed error in bins of the label: a slope is a pull towards the middle."""
    dress(axes, "Error by label")
    every = np.concatenate([np.asarray(splits[name].labels, float) for name in COLOUR])
    edges = np.linspace(every.min(), every.max(), BINS + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    for name, colour in COLOUR.items():
        labels = np.asarray(splits[name].labels, float)
        place = np.clip(np.digitize(labels, edges[1:-1]), 0, BINS - 1)
        error = served[name] - labels
        full = [n for n in range(BINS) if (place == n).any()]
        mean = [float(error[place == n].mean()) for n in full]
        half = [_half_interval(error[place == n]) for n in full]
        # Beside each other, so that no bar hides another.
        places = centres[full] + SHIFT[name] * (edges[1] - edges[0])
        axes.errorbar(places, mean, yerr=half, color=colour, marker="o", ms=4, capsize=2)
    axes.axhline(0, color=BLACK, linewidth=1.0, linestyle="--")
    axes.set(xlabel="label", ylabel="prediction less label, mean\n(bars: 95 % of the mean)")


def _half_interval(values: Values) -> float:
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _draw_by_group(axes: Axes, served: Values, split: SplitData) -> None:
    """Mean absolute error of each new group, and its bias as an open mark."""
    dress(axes, "Error by group of ood_val")
    codes, names = evaluation_groups(split), group_names(split)
    error = served - np.asarray(split.labels, float)
    rows = [(names[code], error[codes == code]) for code in range(len(names))]
    rows = sorted(rows, key=lambda row: -float(np.abs(row[1]).mean()))[:MOST_GROUPS]
    places = np.arange(len(rows))
    axes.barh(places, [np.abs(e).mean() for _, e in rows], height=0.6, color=BLUE)
    axes.plot([e.mean() for _, e in rows], places, "D", color=ORANGE, ms=5, mec="white", mew=0.6)
    axes.axvline(0, color=BLACK, linewidth=0.8)
    axes.set_yticks(places, [f"{name} ({len(e)})" for name, e in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.set_xlabel("bar: mean absolute error; diamond: mean error")


def confusion_picture(table: npt.ArrayLike, names: Sequence[str]) -> Figure:
    """How often each class (row) is taken for each (column), in shares of the row.

    Args:
        table: counts, a row for each class that is, a column for each that is said.
        names: of the classes.
    """
    counts = np.asarray(table, float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.6 + 0.55 * len(names)
    figure = empty_figure(size + 1.2, size, "What each class is taken for (ood_val, as served)", 10)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*shares.shape):
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.55 else BLACK
            text = f"{shares[row, column]:.0%}\n{int(counts[row, column])}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="said", ylabel="is")
    return figure
