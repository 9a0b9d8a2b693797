"""Labels of classes, and several at once: written, read again, and refused with their rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cmir.data import load_dataset
from cmir.data.task import Task
from cmir.errors import InputError
from tests.support.made_data.small_data import COUNT, small_samples, write_small

MOODS = Task("classes", names=("anger", "joy", "neutral"))
SEVERAL = Task("multilabel", names=("anger", "joy"))


def with_label(values: Any) -> pl.DataFrame:
    dtype = pl.List(pl.Float64) if np.ndim(values[0]) else pl.Float64
    return small_samples().with_columns(pl.Series("label", values, dtype=dtype))


def classes(**changes: float) -> pl.DataFrame:
    """Three classes in turn; the first sample of each named split has another number."""
    values = np.arange(COUNT) % 3.0
    starts = {"train": 0, "id_val": 12, "ood_val": 18}
    for name, value in changes.items():
        values[starts[name]] = value
    return with_label(values.tolist())


def lists(*first: list[float]) -> pl.DataFrame:
    rows = [[float(i % 2), float(i % 3 == 0)] for i in range(COUNT)]
    return with_label([*first, *rows[len(first) :]])


def test_classes_are_numbers_in_the_table_and_names_in_the_manifest(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "a", samples=classes(), task=MOODS)
    recorded = json.loads((folder / "dataset.json").read_text())
    assert recorded["names"] == ["anger", "joy", "neutral"]
    assert "threshold" not in recorded
    data = load_dataset(folder)
    assert data.task == data.development().task == MOODS
    assert data.development().train.labels.tolist() == (np.arange(12) % 3.0).tolist()


def test_a_scale_and_two_classes_are_written_as_before(tmp_path: Path) -> None:
    recorded = json.loads((write_small(tmp_path / "a") / "dataset.json").read_text())
    assert not {"names", "threshold"} & set(recorded)


def test_several_labels_are_lists_and_intensities_hold_above_the_threshold(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).uniform(0, 3, (COUNT, 2)).astype(np.float32)
    task = Task("multilabel", names=("anger", "joy"), threshold=1.0)
    folder = write_small(tmp_path / "a", samples=with_label(rows.tolist()), task=task)
    data = load_dataset(folder)
    assert data.task == task
    train = data.development().train
    assert train.labels.shape == (12, 2)
    assert train.labels.dtype == np.float32
    np.testing.assert_array_equal(train.labels, rows[:12] > 1)
    np.testing.assert_array_equal(data.heldout().splits["ood_test"].labels, rows[-4:] > 1)
    stored = pl.read_parquet(folder / "samples.parquet")["label"]
    np.testing.assert_array_equal(np.array(stored.to_list(), np.float32), rows)


def test_the_checksum_knows_every_number_of_a_list(tmp_path: Path) -> None:
    first = write_small(tmp_path / "a", samples=lists(), task=SEVERAL)
    again = write_small(tmp_path / "b", samples=lists(), task=SEVERAL)
    other = write_small(tmp_path / "c", samples=lists([1.0, 0.0]), task=SEVERAL)
    sums = [load_dataset(folder).development().checksum for folder in (first, again, other)]
    assert sums[0] == sums[1] != sums[2]


@pytest.mark.parametrize(
    ("samples", "task", "message"),
    [
        (classes(id_val=3), MOODS, r"whole numbers from 0 to 2, .* but got 3 for 1 sample: 's12'"),
        (classes(train=0.5), MOODS, "but got 0.5 for 1 sample: 's0'"),
        (
            classes(id_val=3),
            Task("classes", names=("a", "b", "c", "d")),
            "every class must be in train, but 'd' is only in id_val: 1 sample: 's12'",
        ),
        (with_label([1.0] * COUNT), MOODS, "labels must vary, but every one is 'joy'"),
        (
            with_label([*(np.arange(12) % 3.0), *[1.0] * 6, *(np.arange(14) % 3.0)]),
            MOODS,
            "must hold two classes at least, but id_val holds only label 'joy'",
        ),
        (with_label([[0.0, 1.0]] * COUNT), MOODS, "'label' must hold numbers, but holds List"),
        (classes(), SEVERAL, "'label' must hold lists of numbers, but holds Float64"),
        (lists([0, 1, 1]), SEVERAL, "must hold 2 numbers, .* but holds 3 for 1 sample: 's0'"),
        (lists([0, float("nan")]), SEVERAL, "missing, NaN or infinite for 1 sample: 's0'"),
        (
            lists([0, 0.5]),
            SEVERAL,
            r"must be 0 or 1, but got \[0.0, 0.5\] for 1 sample: 's0'.*--thr",
        ),
        (
            with_label([[float(i % 2), 0.0] for i in range(COUNT)]),
            SEVERAL,
            "every label must hold for some training samples and not for others, but 'joy' never",
        ),
    ],
)
def test_labels_that_cannot_be_learned_are_refused_with_the_row(
    tmp_path: Path, samples: pl.DataFrame, task: Task, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_small(tmp_path / "a", samples=samples, task=task)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "classes"}, "2 to 100 classes or labels, but there are 0"),
        ({"kind": "classes", "names": ("a", "a")}, "must differ, but 'a' stands there twice"),
        ({"kind": "classes", "names": ("a", " b")}, "but got ' b'. Rename it"),
        ({"kind": "binary", "names": ("a", "b")}, "a binary task has none"),
        ({"kind": "classes", "names": ("a", "b"), "threshold": 0.0}, "only a multilabel task has"),
    ],
)
def test_names_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Task(**arguments)


def test_a_manifest_with_unfit_names_says_where(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "a", samples=classes(), task=MOODS)
    file = folder / "dataset.json"
    file.write_text(file.read_text().replace('"joy"', '"anger"'))
    with pytest.raises(InputError, match=r"dataset\.json: names: must differ, but 'anger' stands"):
        load_dataset(folder)


def test_whole_numbers_in_a_folder_made_by_hand_are_not_guessed_at(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "a", samples=classes(), task=MOODS)
    (folder / "dataset.json").unlink()
    with pytest.raises(InputError, match=r"whole numbers 0, 1, 2: classes or a scale\? Say"):
        load_dataset(folder)
