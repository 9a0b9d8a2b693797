"""What labels mean as a task, and how data sets on disk say it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.data import load_dataset
from cmir.data.label_checks import usual_task
from cmir.data.manifest import read_manifest
from cmir.data.task import SENTIMENT, Task
from cmir.errors import InputError
from tests.support.made_data.small_data import small_samples, write_small

BINARY = Task("binary")
SIMS = Task("regression", (-1.0, 1.0))


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        ([0, 1, 1], BINARY),
        ([0, 0.5, 1], SIMS),
        ([-2, 0.5, 1], SENTIMENT),
        ([0, 50, 100], Task("regression")),
    ],
)
def test_labels_usually_mean(labels: list[float], task: Task) -> None:
    assert usual_task(np.array(labels, float)) == task


def test_labels_of_0_and_1_may_be_a_scale_where_somebody_says_so() -> None:
    assert usual_task(np.array([0.0, 1.0]), "regression") == SIMS


@pytest.mark.parametrize(
    ("task", "given"),
    [
        (SENTIMENT, {"task": "regression", "label_range": (-3.0, 3.0)}),
        (Task("regression"), {"task": "regression", "label_range": None}),
        (BINARY, {"task": "binary", "label_range": None}),
    ],
)
def test_a_task_given_whole_or_in_short_writes_the_same_folder(
    tmp_path: Path, task: Task, given: dict[str, Any]
) -> None:
    samples = small_samples(task.kind)
    whole = write_small(tmp_path / "a" / "x", samples=samples, task=task, label_range=None)
    short = write_small(tmp_path / "b" / "x", samples=samples, **given)
    assert (whole / "dataset.json").read_bytes() == (short / "dataset.json").read_bytes()
    for folder in (whole, short):
        data = load_dataset(folder)
        assert data.task == data.development().task == data.heldout().task == task
    recorded = json.loads((whole / "dataset.json").read_text())
    assert (recorded["task"], recorded["label_range"]) == (
        task.kind,
        None if task.label_range is None else list(task.label_range),
    )


def test_a_manifest_by_hand_that_gives_classes_a_scale_means_classes(tmp_path: Path) -> None:
    text = '{"format": 1, "task": "binary", "label_range": [0, 1]}'
    (tmp_path / "dataset.json").write_text(text)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest.task == BINARY


def test_the_words_on_disk_are_not_those_of_the_code(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"format": 1, "kind": "binary"}')
    with pytest.raises(InputError, match=r"dataset\.json: task: Field required"):
        read_manifest(tmp_path)
