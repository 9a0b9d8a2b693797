"""The annealing of a word-bias split as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

PICTURE_FILE = "annealing.png"
BLUE, GREY = "#0072B2", "#888888"


def draw_annealing(file: Path, trace: Sequence[float]) -> None:
    """Writes the contrast over time, the random split it began with as a line, as PNG."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([100 * step / (len(trace) - 1) for step in range(len(trace))], trace, color=BLUE)
    axes.axhline(trace[0], color=GREY, linestyle="--")
    axes.annotate("label-matched random split", (100, trace[0]), ha="right", va="bottom")
    axes.set_xlabel("steps (% of those taken)")
    axes.set_ylabel("contrast of words\n(squared label units)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(bottom=0)
    figure.savefig(file, dpi=120, metadata={"Software": None})
