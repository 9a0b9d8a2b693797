"""Picture of the verdicts on modalities: a row for each, a panel for each kind of evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmir.evaluation.modalities.estimates import Estimate
from cmir.evaluation.modalities.verdicts import KEPT, Verdict
from cmir.evaluation.modalities.worth import VALIDATION, Worth
from cmir.sweep.modalities.modality_findings import ModalityFindings
from cmir.sweep.modalities.modality_text import said
from cmir.sweep.plot_axes import BLACK, BLUE, GREY, ORANGE, dress, empty_figure, legend, message

COLOUR = {"id_val": BLUE, "ood_val": ORANGE}
NAME = {"id_val": "in known groups", "ood_val": "in new groups"}
TITLE = "What each modality is worth, in known and in new groups"
HALF = 0.13

# What a panel draws of a modality: for each split an estimate, if there is one.
Pick = Callable[[Verdict], Iterator[tuple[str, Estimate]]]


def modality_picture(found: ModalityFindings) -> Figure:
    """Links, gains, rates and moves; bars are 95 % intervals over seeds and groups."""
    rows = list(found.verdicts.values())
    if not rows:
        return message(TITLE, "No modality was asked about.")
    figure = empty_figure(12.5, 2.3 + 0.85 * len(rows), TITLE)
    axes = figure.subplots(1, 4, sharey=True)
    _panel(axes[0], "Link with the label", "correlation", rows, _of_erm("link"))
    _mark_kept(axes[0], rows)
    gain = "% of a constant's squared error"
    _panel(axes[1], "Error grows without it", gain, rows, _of_erm("gain", 100.0))
    _draw_rates(axes[2], rows)
    _panel(axes[3], "Champion moves if swapped", "standard deviations", rows, _heard(found))
    axes[3].set_xlim(left=0.0)
    axes[0].set_yticks(range(len(rows)), [f"{row.modality}\n{said(row)}" for row in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    legend(figure, axes[0])
    return figure


def _panel(axes: Axes, title: str, unit: str, rows: Sequence[Verdict], pick: Pick) -> None:
    _head(axes, title)
    axes.set_xlabel(unit)
    axes.axvline(0.0, color=GREY, linewidth=0.9)
    for place, row in enumerate(rows):
        for split, one in pick(row):
            height = place + (-HALF if split == "id_val" else HALF)
            axes.plot([one.low, one.high], [height] * 2, color=COLOUR[split], linewidth=2.2)
            label = NAME[split] if place == 0 else None
            axes.plot(one.value, height, "o", color=COLOUR[split], markersize=6, label=label)


def _head(axes: Axes, title: str) -> None:
    dress(axes)
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold")


def _of_erm(field: str, factor: float = 1.0) -> Pick:
    def pick(row: Verdict) -> Iterator[tuple[str, Estimate]]:
        worths = (row.evidence.known, row.evidence.new)
        for split, worth in zip(VALIDATION, worths, strict=True):
            if worth is not None:
                yield split, getattr(worth, field).times(factor)

    return pick


def _heard(found: ModalityFindings) -> Pick:
    def pick(row: Verdict) -> Iterator[tuple[str, Estimate]]:
        for split, by_modality in found.champion.items():
            worth: Worth | None = by_modality.get(row.modality)
            if worth is not None:
                yield split, worth.moves

    return pick


def _mark_kept(axes: Axes, rows: Sequence[Verdict]) -> None:
    """Left of the mark a link counts as lost."""
    for place, row in enumerate(rows):
        if row.evidence.known is not None:
            kept = KEPT * row.evidence.known.link.value
            label = f"{KEPT:.0%} of the link in known groups" if place == 0 else None
            axes.plot(kept, place + HALF, "|", color=BLACK, markersize=13, label=label)


def _draw_rates(axes: Axes, rows: Sequence[Verdict]) -> None:
    """Rates of all trials as grey points, of the best as blue ones, medians as marks."""
    _head(axes, "Rate in the search")
    axes.set(xlim=(-0.03, 1.03), xlabel="rate of erasing or swapping it")
    jitter = np.random.default_rng(0)
    for place, row in enumerate(rows):
        if row.evidence.rates is None:
            continue
        rates = row.evidence.rates
        for values, height, colour in (
            (rates.every, place - HALF, GREY),
            (rates.best, place + HALF, BLACK),
        ):
            spread = height + jitter.uniform(-0.07, 0.07, len(values))
            axes.plot(values, spread, ".", color=colour, alpha=0.6, markersize=5)
            axes.plot(np.median(values), height, "|", color=colour, markersize=16, mew=2.4)
    if all(row.evidence.rates is None for row in rows):
        axes.text(0.5, 0.0, "too few trials\nerase or swap", ha="center", va="center", color=GREY)
    else:
        axes.set_xlabel("rate of erasing or swapping it\nblack: the best trials, grey: all")
