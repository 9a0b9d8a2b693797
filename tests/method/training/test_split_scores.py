"""Scores of a stack on whole splits, the groups of the worst case, and objectives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from cmir.data import DevelopmentData, SplitData
from cmir.data.task import SENTIMENT, Task
from cmir.errors import InputError
from cmir.method.training.split_scores import (
    evaluation_groups,
    goal_of,
    known_metrics,
    split_metrics,
    summary,
)
from cmir.metrics.field_metrics import classification_metrics, regression_metrics

FloatArray = npt.NDArray[np.float64]


def split_of(labels: FloatArray, **columns: list[str]) -> SplitData:
    rows = np.arange(len(labels))
    samples = pl.DataFrame({"id": [f"s{row}" for row in rows], **columns})
    return SplitData("id_val", rows, labels.astype(np.float32), samples)


@pytest.mark.parametrize("scale", [(-3.0, 3.0), (-1.0, 1.0), None])
def test_a_regression_split_has_the_metrics_of_its_scale(
    scale: tuple[float, float] | None,
) -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.uniform(-1, 1, 30), rng.normal(size=(2, 30))
    split = split_of(labels)
    found = split_metrics(predictions, split, Task("regression", scale))
    for replica in range(2):
        expected = regression_metrics(predictions[replica], split.labels, label_range=scale)
        expected["worst_environment_mae"] = np.abs(predictions[replica] - split.labels).mean()
        values = {name: float(value[replica]) for name, value in found.items()}
        assert values == pytest.approx({f"id_val/{n}": v for n, v in expected.items()})


def test_a_binary_split_has_the_metrics_of_a_classification() -> None:
    rng = np.random.default_rng(0)
    labels, logits = (rng.random(30) > 0.5).astype(float), rng.normal(size=(1, 30))
    found = split_metrics(logits, split_of(labels), Task("binary"))
    expected = classification_metrics(logits[0], labels)
    expected["worst_environment_accuracy"] = expected["accuracy"]
    values = {name: float(value[0]) for name, value in found.items()}
    assert values == pytest.approx({f"id_val/{n}": v for n, v in expected.items()})


def test_the_worst_environment_is_the_worst_of_the_groups_that_are_large_enough() -> None:
    # Speaker c is wrong by 9 but has 3 samples; d and e are too few too, even together with c.
    speakers = ["a"] * 8 + ["b"] * 10 + ["c"] * 3 + ["d"] * 2 + ["e"]
    errors = np.array([1.0] * 8 + [2.0] * 10 + [9.0] * 6)
    split = split_of(np.zeros(24), speaker=speakers)
    found = split_metrics(np.stack([errors, -errors]), split, SENTIMENT)
    assert found["id_val/worst_environment_mae"].tolist() == [2, 2]


def test_small_groups_that_are_enough_together_count_as_one() -> None:
    speakers = ["a"] * 8 + ["c"] * 4 + ["d"] * 4
    errors = np.array([1.0] * 8 + [3.0] * 4 + [5.0] * 4)
    split = split_of(np.zeros(16), speaker=speakers)
    found = split_metrics(errors[None], split, SENTIMENT)
    assert found["id_val/worst_environment_mae"].tolist() == [4]


def test_a_split_of_small_groups_alone_is_one_group() -> None:
    split = split_of(np.zeros(4), speaker=["a", "b", "c", "d"])
    found = split_metrics(np.array([[1.0, 1.0, 1.0, 5.0]]), split, SENTIMENT)
    assert found["id_val/worst_environment_mae"].tolist() == [2]


def test_the_worst_accuracy_is_the_lowest_and_decides_as_the_accuracy_does() -> None:
    labels = np.array([1.0, 0.0] * 8)
    logits = np.where(labels > 0, 1.0, -1.0)
    logits[:8:2] = 0.0  # on the boundary: class 1, as in `accuracy`
    logits[8:10] *= -1
    split = split_of(labels, speaker=["a"] * 8 + ["b"] * 8)
    found = split_metrics(logits[None], split, Task("binary"))
    assert found["id_val/worst_environment_accuracy"].tolist() == [6 / 8]
    assert found["id_val/accuracy"].tolist() == [14 / 16]


def test_groups_come_from_the_first_column_that_there_is() -> None:
    labels, eight = np.zeros(16), [["x"] * 8 + ["y"] * 8, ["p", "q"] * 8]
    both = split_of(labels, video=eight[1], speaker=eight[0])
    assert evaluation_groups(both).tolist() == [0] * 8 + [1] * 8
    assert evaluation_groups(split_of(labels, video=eight[1])).tolist() == [0, 1] * 8
    assert evaluation_groups(split_of(labels)).tolist() == [0] * 16


@pytest.mark.parametrize("scale", [(-3.0, 3.0), (-1.0, 1.0), None])
def test_the_known_metrics_are_those_that_a_split_reports(
    scale: tuple[float, float] | None,
) -> None:
    labels, predictions = np.array([0.0, 1.0]), np.array([[0.5, 0.0]])
    for task in (Task("regression", scale), Task("binary")):
        found = split_metrics(predictions, split_of(labels), task)
        assert tuple(found) == tuple(f"id_val/{name}" for name in known_metrics(task))


@pytest.mark.parametrize(
    ("objective", "sign"),
    [("ood_val/mae", 1), ("id_val/corr", -1), ("ood_val/worst_environment_mae", 1)],
)
def test_an_objective_knows_which_way_is_better(objective: str, sign: int) -> None:
    goal = goal_of(objective, SENTIMENT)
    assert f"{goal.split}/{goal.metric}" == objective
    assert goal.sign == sign
    assert goal.value({objective: np.array([3.0])}).tolist() == [3]


@pytest.mark.parametrize(
    ("objective", "task", "told"),
    [
        ("ood_val/accuracy", SENTIMENT, r"regression, labels in \[-3, 3\]"),
        ("ood_val/mae", Task("binary"), "binary"),
        ("ood_val/acc7", Task("regression", (-1.0, 1.0)), r"regression, labels in \[-1, 1\]"),
        ("ood_val/acc7", Task("regression"), "regression"),
    ],
)
def test_a_metric_that_the_task_does_not_have_is_refused(
    objective: str, task: Task, told: str
) -> None:
    message = rf"objective must be one of ood_val/.*this task \({told}\), but got '{objective}'"
    with pytest.raises(InputError, match=message):
        goal_of(objective, task)


def test_a_summary_has_mean_and_sample_deviation_over_the_seeds() -> None:
    several = summary({"id_val/mae": np.array([1.0, 2.0, 4.0])})
    spread = float(np.std([1, 2, 4], ddof=1))
    assert several == pytest.approx({"id_val/mae": 7 / 3, "id_val/mae_std": spread})
    assert summary({"id_val/mae": np.array([2.0])}) == {"id_val/mae": 2, "id_val/mae_std": 0}


def test_the_order_of_samples_changes_no_metric(learning: DevelopmentData) -> None:
    split = learning.ood_val
    predictions = np.random.default_rng(0).normal(size=(2, len(split)))
    order = np.random.default_rng(1).permutation(len(split))
    turned = replace(
        split, rows=split.rows[order], labels=split.labels[order], samples=split.samples[order]
    )
    before = split_metrics(predictions, split, SENTIMENT)
    after = split_metrics(predictions[:, order], turned, SENTIMENT)
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, rtol=1e-9)
