"""Labels beside predictions: errors of every task, and the scores that evaluation gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from cmir.data.task import Task
from cmir.errors import InputError
from cmir.method.training.task_metrics import task_metrics
from cmir.serving.label_comparison import labels_given, scores_by_split, with_labels
from cmir.serving.outputs import averaged, chances_of, named_columns, sigmoid, spread

COUNT, SEEDS = 12, 3
RANDOM = np.random.default_rng(0)
NAMES = ("calm", "angry", "sad")
# Of each task: scores of the seeds, and labels.
CASES: dict[str, tuple[Task, np.ndarray, np.ndarray]] = {
    "regression": (
        Task("regression", (-3.0, 3.0)),
        RANDOM.normal(size=(SEEDS, COUNT)),
        RANDOM.uniform(-3, 3, COUNT).astype(np.float32),
    ),
    "binary": (Task("binary"), RANDOM.normal(size=(SEEDS, COUNT)), np.arange(COUNT) % 2),
    "classes": (
        Task("classes", names=NAMES),
        RANDOM.normal(size=(SEEDS, COUNT, 3)),
        np.arange(COUNT) % 3,
    ),
    "multilabel": (
        Task("multilabel", names=NAMES),
        RANDOM.normal(size=(SEEDS, COUNT, 3)),
        (np.arange(3 * COUNT).reshape(COUNT, 3) % 4 < 2).astype(np.float32),
    ),
}


def served(task: Task, scores: np.ndarray) -> pl.DataFrame:
    """What `Ensemble.columns` gives."""
    if task.is_named:
        return pl.DataFrame(named_columns(chances_of(scores, task.kind), task))
    if task.kind == "regression":
        return pl.DataFrame({"prediction": scores.mean(axis=0), "std": spread(scores)})
    votes = sigmoid(scores)
    chance = votes.mean(axis=0)
    columns = {"prediction": (chance >= 0.5).astype(int), "std": spread(votes)}
    return pl.DataFrame(columns | {"probability": chance})


@pytest.mark.parametrize("kind", CASES)
def test_the_scores_are_those_of_the_average_that_is_served(kind: str) -> None:
    task, scores, labels = CASES[kind]
    split = pl.Series("split", ["train", "ood_val"] * (COUNT // 2))
    table = with_labels(served(task, scores), labels, task).with_columns(split)
    found = scores_by_split(table, task)
    assert found.columns == ["metric", "train", "ood_val"]
    for name, rows in (("train", slice(0, None, 2)), ("ood_val", slice(1, None, 2))):
        wanted = task_metrics(averaged(scores[:, rows], task), labels[rows], task)
        told = dict(zip(found["metric"], found[name], strict=True))
        assert told.pop("samples") == COUNT / 2
        assert told == pytest.approx({key: float(v[0]) for key, v in wanted.items()}, nan_ok=True)


@pytest.mark.parametrize("kind", CASES)
def test_the_mean_error_is_the_metric_of_the_task(kind: str) -> None:
    task, scores, labels = CASES[kind]
    table = with_labels(served(task, scores), labels, task)
    wanted = task_metrics(averaged(scores, task), labels, task)[task.group_metric][0]
    error = float(table["error"].abs().mean())  # type: ignore[arg-type]
    assert error == pytest.approx(wanted if kind == "regression" else 1 - wanted)


def test_samples_without_a_label_have_no_error_and_count_for_nothing() -> None:
    task, scores, labels = CASES["regression"]
    some = np.where(np.arange(COUNT) < 4, labels, np.nan)
    table = with_labels(served(task, scores), some, task)
    assert table["label"].null_count() == table["error"].null_count() == COUNT - 4
    assert scores_by_split(table, task).rows()[0] == ("samples", 4.0)
    assert scores_by_split(served(task, scores), task).height == 0


def test_labels_beside_a_request_may_be_names_of_classes() -> None:
    task = Task("classes", names=NAMES)
    assert labels_given(["sad", "calm"], task, 2, "here").tolist() == [2, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["calm", "cross"], "here: label must hold names of calm, angry, sad, but got 'cross'"),
        ([1.0], r"here: label must hold numbers of shape \(2,\), one for each sample, but holds"),
    ],
)
def test_labels_that_do_not_fit_are_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        labels_given(given, Task("classes", names=NAMES), 2, "here")
