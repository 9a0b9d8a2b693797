"""Labels that nothing can be learned from are refused, with the samples; what others usually mean.

Of a classification the training split must know every class that another split has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data.task import Task, TaskKind
from cmir.errors import InputError

Numbers = npt.NDArray[np.floating[Any]]

SHOWN = 8


def label_values(labels: pl.Series, task: Task) -> npt.NDArray[np.float32]:
    """Labels of the table as a task has them: `(n,)`, of a multilabel task `(n, C)` of 0 and 1."""
    if task.kind != "multilabel":
        return labels.to_numpy().copy()
    values = labels.explode().to_numpy().reshape(len(labels), len(task.names))
    return (values > (task.threshold or 0.0)).astype(np.float32)


def check_ids_and_labels(samples: pl.DataFrame, where: str) -> None:
    """Refuse what no split can mend.

    Raises:
        InputError: an id is empty or occurs twice, a label is not a finite number, or holds one
            that is not.
    """
    _check_ids(samples, where)
    labels = samples["label"]
    if labels.dtype == pl.List:
        each = pl.element().is_finite().fill_null(False)
        finite = labels.list.eval(each).list.all().fill_null(False) & labels.is_not_null()
    else:
        finite = labels.is_finite().fill_null(False)
    if not finite.all():
        raise InputError(
            f"{where}: a label must be a finite number, but it is missing, NaN or infinite for "
            f"{named(samples.filter(~finite)['id'])}. Remove these samples or label them."
        )


def _check_ids(samples: pl.DataFrame, where: str) -> None:
    if samples["id"].null_count():
        raise InputError(f"{where}: every sample must have an id, but some are empty.")
    repeated = samples.filter(samples["id"].is_duplicated())
    if repeated.height:
        first = repeated["id"][0]
        places = repeated.filter(pl.col("id") == first)["split"].to_list()
        raise InputError(
            f"{where}: an id must occur once, but {first!r} occurs {len(places)} times, in "
            f"{' and '.join(dict.fromkeys(places))} ({repeated['id'].n_unique()} ids are "
            "repeated). Remove the copies: the same sample in two splits is a leak."
        )


def check_classes(samples: pl.DataFrame, task: Task, where: str) -> None:
    """Refuse labels of a classification that are others, or that splits cannot teach or measure.

    Raises:
        InputError: a label that the task has not, one class alone in all or in one split, a class
            in some split that training lacks, a label of several that always or never holds there.
    """
    if task.kind == "multilabel":
        _check_lists(samples, task, where)
        _check_both_ways(samples, task, where)
    elif task.kind != "regression":
        _check_numbers(samples, task, where)
        _check_vary(samples, task, where)
        _check_known_to_training(samples, task, where)
        _check_each_split(samples, task, where)


def _check_numbers(samples: pl.DataFrame, task: Task, where: str) -> None:
    known = range(len(task.names)) if task.names else (0, 1)
    wrong = samples.filter(~pl.col("label").is_in([float(number) for number in known]))
    if not wrong.height:
        return
    if task.kind == "binary":
        raise InputError(
            f"{where}: labels of a binary task must be 0 or 1, but got {wrong['label'][0]} for "
            f"{named(wrong['id'])}. Relabel them, or use the task 'regression'."
        )
    raise InputError(
        f"{where}: labels must be whole numbers from 0 to {len(task.names) - 1}, those of "
        f"{', '.join(task.names)}, but got {wrong['label'][0]:g} for {named(wrong['id'])}. Relabel "
        "them, or name all classes."
    )


def _check_vary(samples: pl.DataFrame, task: Task, where: str) -> None:
    if samples["label"].n_unique() > 1:
        return
    only = _told(samples["label"][0], task)
    raise InputError(
        f"{where}: labels must vary, but every one is {only}: nothing is there to learn. Name "
        "another key with --label."
    )


def _check_known_to_training(samples: pl.DataFrame, task: Task, where: str) -> None:
    train = samples.filter(pl.col("split") == "train")
    unknown = samples.filter(~pl.col("label").is_in(train["label"].unique().to_list()))
    if not unknown.height or train["label"].n_unique() < 2:
        return
    first = unknown.filter(pl.col("label") == unknown["label"][0])
    raise InputError(
        f"{where}: every class must be in train, but {_told(first['label'][0], task)} is only in "
        f"{' and '.join(first['split'].unique(maintain_order=True))}: {named(first['id'])}. Remove "
        "these samples, or make the splits anew with --shift."
    )


def _check_each_split(samples: pl.DataFrame, task: Task, where: str) -> None:
    wanted = "both classes" if task.kind == "binary" else "two classes at least"
    remedy = "both" if task.kind == "binary" else "several"
    for (split,), group in samples.group_by("split", maintain_order=True):
        if group["label"].n_unique() < 2:
            raise InputError(
                f"{where}: every split of a {task.kind} task must hold {wanted}, but {split} "
                f"holds only label {_told(group['label'][0], task)}. Take shares of a split that "
                f"holds {remedy}: prepare.py --shift given:train=train,id_val=train:0.1,"
                "ood_val=train:0.1,id_test=test."
            )


def _check_lists(samples: pl.DataFrame, task: Task, where: str) -> None:
    count = len(task.names)
    short = samples.filter(pl.col("label").list.len() != count)
    if short.height:
        raise InputError(
            f"{where}: label must hold {count} numbers, one for each of {', '.join(task.names)}, "
            f"but holds {len(short['label'][0])} for {named(short['id'])}."
        )
    if task.threshold is not None:
        return
    each = pl.element().is_in([0.0, 1.0])
    wrong = samples.filter(~pl.col("label").list.eval(each).list.all())
    if wrong.height:
        raise InputError(
            f"{where}: labels of a multilabel task must be 0 or 1, but got "
            f"{wrong['label'][0].to_list()} for {named(wrong['id'])}. If they are intensities, say "
            "above which a name holds: --threshold 0, or threshold in dataset.json."
        )


def _check_both_ways(samples: pl.DataFrame, task: Task, where: str) -> None:
    train = label_values(samples.filter(pl.col("split") == "train")["label"], task)
    shares = train.mean(axis=0) if len(train) else np.full(len(task.names), 0.5)
    for name, share in zip(task.names, shares, strict=True):
        if share in (0.0, 1.0):
            raise InputError(
                f"{where}: every label must hold for some training samples and not for others, but "
                f"{name!r} {'always' if share else 'never'} does. Leave this label out."
            )


def _told(label: float, task: Task) -> str:
    return repr(task.names[int(label)]) if task.names else f"{label:g}"


def named(ids: pl.Series) -> str:
    """Say how many samples, and name the first five."""
    shown = ", ".join(repr(value) for value in ids.head(5).to_list())
    more = ", ..." if len(ids) > 5 else ""
    return f"{len(ids)} {'sample' if len(ids) == 1 else 'samples'}: {shown}{more}"


def may_be_classes(labels: Numbers) -> bool:
    """Whether labels `(n,)` could as well be numbers of classes as a scale: whole, more than two.

    Example:
        >>> may_be_classes(np.array([0.0, 2.0, 1.0])), may_be_classes(np.array([0.0, 0.5, 1.0]))
        (True, False)
    """
    found = np.unique(labels)
    return bool(len(found) > 2 and np.isfinite(found).all() and (found == np.rint(found)).all())


def shown_values(labels: Numbers) -> str:
    """The different values of labels, the first of many."""
    found = np.unique(labels)
    more = f", ... ({len(found)} of them)" if len(found) > SHOWN else ""
    return ", ".join(f"{value:g}" for value in found[:SHOWN]) + more


def usual_task(labels: Numbers, kind: TaskKind | None = None) -> Task:
    """The task that labels usually mean: "binary" if all are 0 or 1, else a scale.

    Args:
        labels: `(n,)`.
        kind: where it is known.

    Example:
        >>> usual_task(np.array([-1.0, 2.4]))
        Task(kind='regression', label_range=(-3.0, 3.0), names=(), threshold=None)
    """
    kind = kind or ("binary" if np.isin(labels, (0.0, 1.0)).all() else "regression")
    return Task(kind, _usual_range(labels) if kind == "regression" else None)


def _usual_range(labels: Numbers) -> tuple[float, float] | None:
    """The usual scale that holds all labels: [-1, 1], else [-3, 3], else None."""
    largest = np.abs(labels).max(initial=0.0)
    return next(((-limit, limit) for limit in (1.0, 3.0) if largest <= limit), None)
