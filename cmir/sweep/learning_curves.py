"""Picture of how the best trials of a sweep learned, epoch by epoch, with their seeds."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cmir.runner.studies.records import TrialRecord
from cmir.sweep.leaderboard import ranked, value_of
from cmir.sweep.plot_axes import SCHEME_STYLES, blank, label_of, legend, message, window_of

MOST_CURVES = 4
TITLE = "Learning curves of the best trials"


def learning_curves(records: Sequence[TrialRecord], objective: str) -> Figure:
    """The objective after each epoch of the best trials, in the mean over their seeds.

    A mark for each seed stands at the epoch that was kept, with the seed's own value there.
    """
    ended = [record for record in ranked(records, objective) if _curve(record, objective)]
    if not ended:
        return message(TITLE, "No trial with a curve has finished yet.")
    best = ended[:MOST_CURVES]
    figure, axes = blank(8.0, 4.8, f"{TITLE}, and the epoch that each seed kept")
    for record, (colour, marker) in zip(best, SCHEME_STYLES, strict=False):
        _draw_curve(axes, record, objective, colour)
        _mark_seeds(axes, record, objective, colour, marker)
    shown = [value for record in best for value in _values(record, objective)]
    limits = window_of(shown, objective).limits
    axes.set(xlabel="epoch", ylabel=label_of(objective), ylim=limits, xlim=(0.5, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend(figure, axes, 2)
    return figure


def _curve(record: TrialRecord, key: str) -> Sequence[float]:
    return record.ending.curve.get(key, ())


def _values(record: TrialRecord, objective: str) -> list[float]:
    """All that is drawn; the first epochs may run out of the picture."""
    return [*_curve(record, objective), *record.ending.by_seed.get(objective, ())]


def _draw_curve(axes: Axes, record: TrialRecord, objective: str, colour: str) -> None:
    curve = _curve(record, objective)
    label = f"trial {record.number}, {record.scheme}: {value_of(record):.4g}"
    axes.plot(range(1, len(curve) + 1), curve, color=colour, linewidth=1.6, label=label)


def _mark_seeds(axes: Axes, record: TrialRecord, objective: str, colour: str, marker: str) -> None:
    values = record.ending.by_seed.get(objective, ())
    if len(values) == len(record.ending.best_epochs):
        axes.plot(
            record.ending.best_epochs,
            values,
            linestyle="",
            color=colour,
            marker=marker,
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.6,
            zorder=4,
        )
