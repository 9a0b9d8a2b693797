"""Picture of what linear probes find in the invariant and the spurious part of a model."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmir.evaluation.probes.ground_truth import GroundTruth
from cmir.evaluation.probes.linear_probes import BySeed
from cmir.evaluation.probes.probing import ROLES, Probes
from cmir.evaluation.probes.readouts import Readout
from cmir.sweep.plot_axes import BLACK, BLUE, GREY, ORANGE, dress, empty_figure, legend

COLOUR = {"invariant": BLUE, "spurious": ORANGE}
NAME = {
    "invariant": "invariant part Z_inv: predictions are made from it",
    "spurious": "spurious part Z_spu: set aside",
}
# What a reader is told of each target, and what an ideal model shows.
TRUTH = {
    "causal": ("the causes of the label", "blue at the line, orange 0"),
    "cause": ("…of them, the mix that decides it", "blue at the line, orange 0"),
    "spurious": ("the spurious features", "blue 0, orange at the line"),
    "cue": ("…of them, the mix that looks like the label", "blue 0, orange at the line"),
    "environment": ("which environment it is from", "blue 0"),
}
ABOUT = (
    "A trained model keeps two parts of what it sees. Blue should hold what causes the label and "
    "nothing else;\n"
    "orange what merely goes along with it. Bars are means over seeds, dots are seeds."
)
INSIDE = 0.12
UNRELATED = float(np.sqrt(2.0))
BAR = 0.36


@dataclass(frozen=True)
class Row:
    """A question: bars by part, what an ideal model shows, and a value to compare with."""

    question: str
    ideal: str
    bars: Mapping[str, BySeed]
    mark: float | None = None


def probe_picture(probes: Probes) -> Figure:
    """Bars for the two parts: what a linear probe reads out of them, and what moves predictions.

    Dots are single seeds, bars their mean. Values below zero, where a probe is worse than a
    constant, are drawn as zero.
    """
    panels = [_truth_rows(probes.truth)] if probes.truth is not None else []
    panels.append(_general_rows(probes))
    heights = [0.75 * len(rows) + 0.8 for rows in panels]
    if probes.truth is not None:
        heights.insert(1, 2.1)
    figure = empty_figure(10.0, sum(heights) + 0.9)
    axes = np.atleast_1d(figure.subplots(len(heights), 1, height_ratios=heights))
    if probes.truth is not None:
        scale = "R²: 0 nothing, 1 all of it"
        line = "the same probe on the input features"
        _draw(axes[0], "Can it be read out of the part?", panels[0], scale, line)
        _draw_moved(axes[1], probes.truth)
    _draw(axes[-1], _general_title(probes), panels[-1], _scale(probes), "a constant")
    figure.suptitle(ABOUT, x=0.01, ha="left", fontsize=10)
    legend(figure, axes[0], 1)
    return figure


def _truth_rows(truth: GroundTruth) -> list[Row]:
    return [
        Row(
            question,
            ideal,
            {part: truth.matrix[part][target] for part in ROLES},
            truth.inputs[target],
        )
        for target, (question, ideal) in TRUTH.items()
    ]


def _general_rows(probes: Probes) -> list[Row]:
    return [
        Row(
            textwrap.fill(f"{one.asked}{_of_kind(one)}", 32),
            _ideal_of(name, one),
            one.linear,
            one.chance if one.measure == "accuracy" else None,
        )
        for name, one in probes.readouts.items()
    ]


def _of_kind(readout: Readout) -> str:
    return ", accuracy" if readout.measure == "accuracy" else ""


def _ideal_of(name: str, readout: Readout) -> str:
    nothing = "at the line" if readout.measure == "accuracy" else "0"
    if name == "label/id_val":
        # On known groups a spurious part may well tell the label: that is what spurious means.
        return "blue long"
    if name == "label/ood_val":
        return f"blue long, orange {nothing}"
    return f"blue {nothing}, orange long"


def _general_title(probes: Probes) -> str:
    told = "hat each part tells of label, group and environment"
    return f"Without knowing the truth: w{told}" if probes.truth is not None else f"W{told}"


def _scale(probes: Probes) -> str:
    scale = "R² of a linear probe: 0 nothing, 1 all of it"
    if all(one.measure == "r2" for one in probes.readouts.values()):
        return scale
    return f"{scale}; or accuracy, line: a constant"


def _draw(axes: Axes, title: str, rows: Sequence[Row], scale: str, line: str) -> None:
    dress(axes, title)
    axes.set(xlim=(0.0, 1.0), ylim=(len(rows) - 0.4, -0.6), xlabel=scale)
    axes.set_yticks(range(len(rows)), [row.question for row in rows])
    for place, row in enumerate(rows):
        for offset, part in zip((-BAR / 2, BAR / 2), ROLES, strict=True):
            label = NAME[part] if place == 0 else None
            _bar(axes, place + offset, row.bars[part], COLOUR[part], label)
        if row.mark is not None:
            axes.vlines(
                max(row.mark, 0.0),
                place - BAR,
                place + BAR,
                color=BLACK,
                linewidth=1.6,
                label=line if place == 0 else "_",
            )
        _ideal(axes, place, row.ideal)


def _draw_moved(axes: Axes, truth: GroundTruth) -> None:
    dress(axes, "Do predictions listen to it? One thing is exchanged, all else is held")
    asked = {
        "causal": ("the causes of the label", "ideal: long"),
        "spurious": ("the spurious features", "ideal: 0"),
    }
    axes.set(
        xlim=(0.0, 1.5),
        ylim=(1.6, -0.6),
        xlabel="change of the predictions, in their standard deviations",
    )
    axes.set_yticks(range(2), [question for question, _ in asked.values()])
    for place, (kind, values) in enumerate(truth.moved.items()):
        _bar(axes, place, values, GREY, None)
        _ideal(axes, place, asked[kind][1])
    axes.axvline(UNRELATED, color=BLACK, linewidth=1.0, linestyle=":")
    axes.text(UNRELATED, -0.55, "all is new ", ha="right", va="top", fontsize=8, color=BLACK)


def _bar(axes: Axes, place: float, values: BySeed, colour: str, label: str | None) -> None:
    seen = np.clip(np.nan_to_num(values), 0.0, None)
    mean = float(seen.mean())
    axes.barh(place, mean, BAR, color=colour, label=label)
    axes.plot(
        seen, np.full(len(seen), place), ".", color=BLACK, markersize=3, alpha=0.6, clip_on=False
    )
    text = f"{np.nanmean(values):.2f}" if np.isfinite(values).any() else "cannot be asked"
    # Inside the bar the number hides neither dots nor the line to compare with.
    is_inside = mean > INSIDE * axes.get_xlim()[1]
    axes.annotate(
        text,
        (0.0 if is_inside else max(mean, float(seen.max())), place),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color="white" if is_inside else BLACK,
        fontweight="bold" if is_inside else "normal",
    )


def _ideal(axes: Axes, place: float, text: str) -> None:
    """What an ideal model shows, right of the axes."""
    text = text if text.startswith("ideal") else f"ideal: {text}"
    axes.annotate(
        text,
        (1.0, place),
        xycoords=("axes fraction", "data"),
        xytext=(12, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=GREY,
        annotation_clip=False,
    )
