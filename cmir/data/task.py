"""What is learned: the kind of the labels, their scale, and what follows from both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cmir.config import PredictionLoss

TaskKind = Literal["regression", "binary"]


@dataclass(frozen=True)
class Task:
    """What a data set asks of a model; it travels with the labels wherever they go.

    Scores are what a network puts out: label units of a regression, logits of class 1 of a binary
    task. The metrics of a task are in `cmir.method.training.task_metrics`.

    Attributes:
        kind: "regression", or "binary" (labels 0 and 1).
        label_range: lowest and highest label of a regression's scale, where it has a usual one: it
            decides which accuracies there are.

    Example:
        >>> str(Task("regression", (-3.0, 3.0))), str(Task("binary"))
        ('regression, labels in [-3, 3]', 'binary')
    """

    kind: TaskKind
    label_range: tuple[float, float] | None = None

    def __str__(self) -> str:
        """The kind, and the scale where there is one."""
        if self.label_range is None:
            return self.kind
        return "{}, labels in [{:g}, {:g}]".format(self.kind, *self.label_range)

    @property
    def prediction_losses(self) -> tuple[PredictionLoss, ...]:
        """The losses that may teach it (Mai and Han 2026, Eq. 2), the default first."""
        return ("bce",) if self.kind == "binary" else ("mse", "mae")

    @property
    def group_metric(self) -> str:
        """The metric by which groups of samples are compared: a mean over samples."""
        return "accuracy" if self.kind == "binary" else "mae"


# CMU-MOSI and CMU-MOSEI: what comparisons assume of whom says nothing else.
SENTIMENT = Task("regression", (-3.0, 3.0))
