"""What is learned: the kind of the labels, their scale or names, and what follows from them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cmir.config import PredictionLoss
from cmir.errors import InputError

TaskKind = Literal["regression", "binary", "classes", "multilabel"]
NAMED: tuple[TaskKind, ...] = ("classes", "multilabel")
MOST_NAMES = 100

_LOSSES: dict[TaskKind, tuple[PredictionLoss, ...]] = {
    "regression": ("mse", "mae"),
    "binary": ("bce",),
    "classes": ("cross_entropy",),
    "multilabel": ("label_bce",),
}
_GROUP_METRICS: dict[TaskKind, str] = {
    "regression": "mae",
    "binary": "accuracy",
    "classes": "accuracy",
    "multilabel": "label_accuracy",
}


@dataclass(frozen=True)
class Task:
    """What a data set asks of a model; it travels with the labels wherever they go.

    Scores are what a network puts out: label units of a regression, logits of class 1 of a binary
    task, both `(replica, n)`; logits of all C names of `classes` and `multilabel`,
    `(replica, n, C)`. Labels are `(n,)`: a number, 0 or 1, or the number of a class; of
    `multilabel` they are 0 and 1, `(n, C)`. The metrics of a task are in
    `cmir.method.training.task_metrics`.

    Attributes:
        kind: "regression", "binary" (labels 0 and 1), "classes" (one of C names for each sample),
            or "multilabel" (each of C names holds or not).
        label_range: lowest and highest label of a regression's scale, where it has a usual one: it
            decides which accuracies there are.
        names: of the classes or labels, in the order of their numbers.
        threshold: of a multilabel task whose labels are stored as intensities: a name holds above
            it. None: they are stored as 0 and 1.

    Raises:
        InputError: names that there must not be, too few, repeated, or not fit to name a metric.

    Example:
        >>> str(Task("regression", (-3.0, 3.0))), str(Task("binary"))
        ('regression, labels in [-3, 3]', 'binary')
        >>> str(Task("classes", names=("anger", "joy", "neutral")))
        'classes, anger, joy, neutral'
    """

    kind: TaskKind
    label_range: tuple[float, float] | None = None
    names: tuple[str, ...] = ()
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuses names that do not fit the kind."""
        if self.kind in NAMED:
            check_names(self.names)
        elif self.names:
            raise InputError(f"names: a {self.kind} task has none, but got {list(self.names)}.")
        if self.threshold is not None and self.kind != "multilabel":
            raise InputError(
                f"threshold: only a multilabel task has one, but this is {self.kind}. Leave it out."
            )

    def __str__(self) -> str:
        """The kind, and its scale or names."""
        if self.names:
            above = "" if self.threshold is None else f", each above {self.threshold:g}"
            return f"{self.kind}, {', '.join(self.names)}{above}"
        if self.label_range is None:
            return self.kind
        return "{}, labels in [{:g}, {:g}]".format(self.kind, *self.label_range)

    @property
    def is_named(self) -> bool:
        """Whether its scores have a last axis over names."""
        return bool(self.names)

    @property
    def outputs(self) -> int:
        """Numbers that a network puts out for each sample."""
        return len(self.names) or 1

    @property
    def prediction_losses(self) -> tuple[PredictionLoss, ...]:
        """The losses that may teach it (Mai and Han 2026, Eq. 2), the default first."""
        return _LOSSES[self.kind]

    @property
    def group_metric(self) -> str:
        """The metric by which groups of samples are compared: a mean over samples."""
        return _GROUP_METRICS[self.kind]


def check_names(names: Sequence[str]) -> None:
    """Refuses names of classes or labels that cannot name a metric and a column of predictions.

    Raises:
        InputError: fewer than two, more than 100, repeated, or with characters other than letters,
            digits, underscores, dashes, dots and blanks inside.
    """
    if not 2 <= len(names) <= MOST_NAMES:
        raise InputError(
            f"names: there must be 2 to {MOST_NAMES} classes or labels, but there are {len(names)}."
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"names: must differ, but {repeated[0]!r} stands there twice. Rename it.")
    odd = [name for name in names if not re.fullmatch(r"\w([\w.\- ]*\w)?", name)]
    if odd:
        raise InputError(
            f"names: must consist of letters, digits, '_', '-', '.' and blanks inside, as each "
            f"names a metric, but got {odd[0]!r}. Rename it."
        )


# CMU-MOSI and CMU-MOSEI: what comparisons assume of whom says nothing else.
SENTIMENT = Task("regression", (-3.0, 3.0))
