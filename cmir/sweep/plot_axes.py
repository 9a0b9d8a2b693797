"""What the pictures of a sweep share: colours, names of metrics, axes that stay readable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmir.runner.studies.records import Outcome
from cmir.sweep.leaderboard import is_lower_better

# Colours that people with any kind of colour vision can tell apart (Okabe and Ito 2008).
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, OLIVE = "#CC79A7", "#56B4E9", "#B8A900"
BLACK, GREY, PALE = "#1A1A1A", "#8C8C8C", "#DEDEDE"
OUTCOME_STYLE: Mapping[Outcome, tuple[str, str]] = {
    "finished": (BLUE, "o"),
    "pruned": (ORANGE, "v"),
    "diverged": (VERMILION, "X"),
    "failed": (BLACK, "P"),
}
SCHEME_STYLES = (
    (BLUE, "o"),
    (ORANGE, "s"),
    (GREEN, "D"),
    (PURPLE, "^"),
    (SKY, "v"),
    (VERMILION, "P"),
    (OLIVE, "X"),
)
METRIC_LABEL: Mapping[str, str] = {
    "mae": "mean absolute error (label units)",
    "corr": "Pearson correlation",
    "acc7": "7-class accuracy",
    "acc5": "5-class accuracy",
    "acc3": "3-class accuracy",
    "acc2": "2-class accuracy",
    "acc2_has0": "2-class accuracy, with neutral",
    "acc2_non0": "2-class accuracy, without neutral",
    "f1": "weighted F1",
    "f1_has0": "weighted F1, with neutral",
    "f1_non0": "weighted F1, without neutral",
    "accuracy": "accuracy",
    "auc": "area under the ROC curve",
    "brier": "Brier score",
    "log_loss": "log loss (nats)",
    "worst_environment_mae": "worst environment's mean absolute error (label units)",
    "worst_environment_accuracy": "worst environment's accuracy",
    "tenth_percentile_mae": "mean absolute error that 9 of 10 groups stay below (label units)",
    "tenth_percentile_accuracy": "accuracy that 9 of 10 groups stay above",
    "ece": "expected calibration error",
    "uar": "mean recall of the classes",
    "weighted_f1": "weighted F1",
    "macro_f1": "mean F1 of the classes",
    "micro_f1": "F1 of all decisions",
    "mcc": "Matthews correlation",
    "label_accuracy": "share of right decisions",
    "weighted_accuracy": "weighted accuracy",
    "auroc": "area under the ROC curve",
    "average_precision": "average precision",
    "worst_environment_label_accuracy": "worst environment's share of right decisions",
    "tenth_percentile_label_accuracy": "share of right decisions that 9 of 10 groups stay above",
    "disagreement": "disagreement of the seeds",
    "leak": "share of the label that is read from Z_spu (R^2)",
}
SPLIT_LABEL: Mapping[str, str] = {
    "id_val": "in-distribution validation",
    "ood_val": "out-of-distribution validation",
    "cv": "cross-validation over groups",
    "split": "both validation splits",
    "unlabelled": "out-of-distribution validation, without labels",
}
Spots = Mapping[int, tuple[float, float]]
MOST_NUMBERED = 12
FURTHEST = 4.0
CROWD = 1500


@dataclass(frozen=True)
class Dots:
    """How points are drawn so that they can be told apart, or at least show how dense they are.

    Attributes:
        diameter: of a point, as a share of its usual size.
        edge: width of its white edge in points.
        opacity: 1 where it hides what is below.
    """

    diameter: float
    edge: float
    opacity: float


def dots_for(count: int) -> Dots:
    """Small, see-through and without edges for a crowd."""
    return Dots(0.5, 0.0, 0.5) if count > CROWD else Dots(1.0, 0.5, 1.0)


@dataclass(frozen=True)
class Window:
    """The part of an axis that is shown; values beyond it are drawn at its worse end.

    Attributes:
        best: the best value.
        worst: the worst value that is shown in its place.
        beyond: number of values worse than that.
        worst_is_high: whether the worse side is that of the larger values.
    """

    best: float
    worst: float
    beyond: int
    worst_is_high: bool

    def clip(self, value: float) -> float:
        """The value, or the worse end if it lies beyond."""
        low, high = sorted((self.best, self.worst))
        return min(max(value, low), high)

    @property
    def limits(self) -> tuple[float, float]:
        """Lower and upper limit of the axis: the window with a margin."""
        low, high = sorted((self.best, self.worst))
        return low - self._margin, high + self._margin

    @property
    def edge(self) -> float:
        """Where a trial without a value stands: within the margin on the worse side."""
        return self.worst + (0.7 if self.worst_is_high else -0.7) * self._margin

    @property
    def _margin(self) -> float:
        return 0.1 * abs(self.worst - self.best) or 0.05 * abs(self.worst) or 0.05


def window_of(values: Sequence[float], objective: str) -> Window:
    """From the best value to the worst, but not further than four times the way to the median.

    A few trials that went astray would otherwise press all others into one line.
    """
    lower = is_lower_better(objective)
    sign = 1.0 if lower else -1.0
    losses = sign * np.array(values or (0.0, 1.0))
    best, worst = float(losses.min()), float(losses.max())
    reach = best + FURTHEST * float(np.median(losses) - best)
    end = reach if best < reach < worst else worst
    return Window(sign * best, sign * end, int((losses > end).sum()), lower)


def set_window(axes: Axes, side: Literal["x", "y"], window: Window, objective: str) -> None:
    """Limits and label of one axis that shows `split/metric`."""
    note = f"\n({window.beyond} worse than shown: drawn at the edge)" if window.beyond else ""
    axes.set(**{f"{side}lim": window.limits, f"{side}label": label_of(objective) + note})


def label_of(objective: str) -> str:
    """Metric, units, split and which way is better; the arrow also holds on an upright axis."""
    split, _, metric = objective.partition("/")
    name = f"{METRIC_LABEL.get(metric, metric)}\n{SPLIT_LABEL.get(split, split)}"
    return f"← better  |  {name}" if is_lower_better(objective) else f"{name}  |  better →"


def blank(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure of so many inches with one titled pair of axes, known to no global state."""
    figure = empty_figure(width, height)
    axes = figure.add_subplot()
    dress(axes, title)
    return figure, axes


def empty_figure(width: float, height: float, headline: str = "", size: float = 11) -> Figure:
    """A figure of so many inches without axes; its headline stands above all that will be there."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    if headline:
        figure.suptitle(headline, x=0.01, ha="left", fontsize=size, fontweight="bold")
    return figure


def dress(axes: Axes, title: str = "") -> None:
    """The look that all axes share."""
    if title:
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)


def message(title: str, text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure, axes = blank(8.0, 3.0, title)
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.text(0.5, 0.5, text, ha="center", va="center", color=BLACK, transform=axes.transAxes)
    return figure


def steps_of_front(axes: Axes, places: Spots, front: Sequence[int], label: str) -> None:
    """The Pareto front as steps, its best trials with their numbers.

    Args:
        axes: to draw on.
        places: of all trials, by number.
        front: numbers of those on it, the best in the first value first.
        label: for the legend.
    """
    across, up = zip(*(places[number] for number in front), strict=True)
    axes.step(across, up, where="post", color=BLACK, linewidth=1.1, label=label)
    for number in front[:MOST_NUMBERED]:
        axes.annotate(
            str(number), places[number], xytext=(6, 5), textcoords="offset points", zorder=5
        )


def legend(figure: Figure, axes: Axes, columns: int = 4) -> None:
    """The legend below the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def stamp(figure: Figure, of: str) -> None:
    """Says of which sweep and data a figure is, on a line of its own above it."""
    head = figure.get_suptitle()
    for text in figure.texts:
        if head and text.get_text() == head:
            text.set_text(f"{head}\n{of}")
            return
    figure.suptitle(of, x=0.99, ha="right", fontsize=8, color=GREY)
