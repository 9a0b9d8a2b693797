"""Picture of how every group fares with the winner and with the ERM baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cmir.data.task import Task
from cmir.promotion.comparison import GroupChange
from cmir.sweep.plot_axes import BLUE, GREY, VERMILION, dress, empty_figure, label_of

LARGEST = 30


def group_picture(groups: Sequence[GroupChange], task: Task) -> Figure:
    """A row for each group: an arrow from the ERM baseline to the winner, red where it falls.

    With more than 30 groups the 30 that fall most are shown.

    Args:
        groups: the one that falls most first.
        task: says what the scores are.
    """
    shown = list(groups[:LARGEST])[::-1]
    title = "Groups of ood_val: from the ERM baseline (bar) to this model (dot); red: worse"
    figure = empty_figure(7.5, 1.5 + 0.3 * len(shown), title, 10)
    axes = figure.subplots()
    dress(axes)
    axes.grid(False, axis="y")
    places = np.arange(len(shown))
    for place, group in zip(places, shown, strict=True):
        colour = VERMILION if group.gain < 0 else BLUE
        axes.plot([group.other, group.own], [place, place], color=colour, linewidth=2, zorder=2)
        axes.plot(group.own, place, marker="o", color=colour, zorder=3)
    axes.plot([g.other for g in shown], places, "|", color=GREY, markersize=12, zorder=2)
    axes.set_yticks(places, [f"{group.group} ({group.samples})" for group in shown], fontsize=8)
    axes.set_xlabel(label_of(f"ood_val/{task.group_metric}"), fontsize=9)
    return figure
