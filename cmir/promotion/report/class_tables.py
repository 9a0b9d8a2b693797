"""What a model of classes or of several labels gets right: confusions, and each name by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cmir.data import SplitData
from cmir.data.task import Task
from cmir.method.training.split_scores import evaluation_groups
from cmir.metrics.confusion import confusions, f1_of_counts, ratio
from cmir.promotion.comparison import group_names

# A card shows so many groups, those with most samples.
MOST_GROUPS = 12

Decided = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ClassTables:
    """Tables of one split, for the served prediction.

    Attributes:
        names: of the classes or labels.
        each: a row for each name: how often it holds, is said, precision, recall, F1.
        confusion: how often each class (row) was taken for each (column); empty for several labels.
        groups: a row for each group: its name, samples, and the recall of each name there, with how
            many have it; empty where there is one group.
    """

    names: list[str]
    each: Sequence[Sequence[str]]
    confusion: Sequence[Sequence[str]]
    groups: Sequence[Sequence[str]]


def class_tables(scores: npt.NDArray[np.float64], split: SplitData, task: Task) -> ClassTables:
    """The tables of a split.

    Args:
        scores: of the served prediction, `(n, C)` logits.
        split: with n labels.
        task: with names.
    """
    decided, actual = _as_columns(scores, split, task)
    hits, support, said = (decided & actual).sum(0), actual.sum(0), decided.sum(0)
    measures = (ratio(hits, said), ratio(hits, support), f1_of_counts(hits, support, said))
    each = [
        [name, str(support[c]), str(said[c]), *(f"{values[c]:.3f}" for values in measures)]
        for c, name in enumerate(task.names)
    ]
    return ClassTables(
        list(task.names), each, _confusion(decided, actual, task), _groups(decided, actual, split)
    )


def _as_columns(
    scores: npt.NDArray[np.float64], split: SplitData, task: Task
) -> tuple[Decided, Decided]:
    """What is said to hold of each sample, and what does: `(n, C)`."""
    if task.kind == "multilabel":
        return scores >= 0, split.labels > 0
    every = np.arange(len(task.names))
    return scores.argmax(1)[:, None] == every, split.labels[:, None] == every


def _confusion(decided: Decided, actual: Decided, task: Task) -> list[list[str]]:
    if task.kind != "classes":
        return []
    counts = confusions(decided.argmax(1)[None], actual.argmax(1), len(task.names))[0]
    return [
        [name, *(str(count) for count in row)] for name, row in zip(task.names, counts, strict=True)
    ]


def _groups(decided: Decided, actual: Decided, split: SplitData) -> list[list[str]]:
    codes, names = evaluation_groups(split), group_names(split)
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        return []
    largest = np.argsort(-sizes, kind="stable")[:MOST_GROUPS]
    return [
        _group_row(names[code], decided[codes == code], actual[codes == code]) for code in largest
    ]


def _group_row(name: str, decided: Decided, actual: Decided) -> list[str]:
    support, hits = actual.sum(0), (decided & actual).sum(0)
    cells = [
        f"{hit / count:.2f} of {count}" if count else ""
        for hit, count in zip(hits, support, strict=True)
    ]
    return [name, str(len(actual)), *cells]
