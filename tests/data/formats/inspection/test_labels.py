"""Labels of several columns, names of classes, and splits: answered with what is possible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.data import load_dataset
from cmir.data.formats.readers import mag, mmsa
from cmir.data.formats.source import Source
from cmir.data.preparing import prepare
from cmir.data.task import Task
from cmir.errors import InputError
from tests.support.made_data.small_data import Content, mmsa_content, mmsa_split, write_pickle
from tests.support.made_data.small_layouts import mag_content


def with_labels(value: Callable[[int], Any], key: str = "labels") -> Content:
    content = mmsa_content()
    for split in content.values():
        del split["regression_labels"]
        split[key] = value(len(split["id"]))
    return content


def read(folder: Path, content: object, **options: Any) -> Source:
    return mmsa(write_pickle(folder / "a.pkl", content), **options)


def columns(n: int) -> np.ndarray:
    return np.arange(n * 7, dtype=float).reshape(n, 1, 7) % 5


def test_a_column_of_several_labels_can_be_chosen(tmp_path: Path) -> None:
    content = with_labels(columns)
    with pytest.raises(InputError, match=r"holds 7 columns .* Choose one: --label labels:0 to lab"):
        read(tmp_path, content)
    with pytest.raises(InputError, match="--label labels:7: labels holds 7 columns"):
        read(tmp_path, content, label="labels:7")
    source = read(tmp_path, content, label="labels:2")
    np.testing.assert_array_equal(source.samples["label"][:40], columns(40)[:, 0, 2])
    assert "labels" not in source.left_out


def test_yes_and_no_for_each_of_four_classes_are_columns(tmp_path: Path) -> None:
    content = with_labels(lambda n: np.eye(2)[np.arange(n * 4).reshape(n, 4) % 3 % 2])
    with pytest.raises(InputError, match=r"holds 8 columns .*\(columns of 0 and 1 are classes\)"):
        read(tmp_path, content)
    assert read(tmp_path, content, label="labels:3").task == Task("binary")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("joy", "anger", "fear"), "holds 3 names of classes: anger, fear, joy. Put numbers"),
        (("Positive", "Negative"), "write 0 for Negative and 1 for Positive"),
        ((b"a", None), "names of classes"),
        (([1], [1, 2]), "must hold one number"),
    ],
)
def test_names_of_classes_are_told(tmp_path: Path, names: Any, message: str) -> None:
    content = with_labels(lambda n: [names[i % len(names)] for i in range(n)])
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)


def test_numbers_of_classes_are_warned_about(tmp_path: Path) -> None:
    found = read(tmp_path, with_labels(lambda n: np.arange(n) % 7))
    assert any("7 whole numbers from 0 to 6 look like classes" in w for w in found.warnings)
    for label in (lambda n: np.arange(n) % 7 - 3, lambda n: np.arange(n) % 7 + 1):
        assert not read(tmp_path, with_labels(label)).warnings


def test_a_split_can_be_left_out(tmp_path: Path) -> None:
    content = {**mmsa_content(), "train_mix": mmsa_split("train_mix", 9, 3)}
    with pytest.raises(InputError, match="or leave it out: --split train_mix=none"):
        read(tmp_path, content)
    for splits in ({"train_mix": "none"}, {"*": "none"}):
        source = read(tmp_path, content, splits=splits)
        assert source.samples["split"].n_unique() == 3
        assert "split train_mix" in source.left_out
    assert read(tmp_path, content, splits={"test": "none", "train_mix": "id_test"})
    lists = mag_content() | {"more": mag_content()["dev"]}
    found = mag(write_pickle(tmp_path / "b.pkl", lists), splits={"more": "none"})
    assert "split more" not in found.samples["split"]


def test_a_shift_of_given_splits_reads_those_that_it_names(tmp_path: Path) -> None:
    content = {**mmsa_content(), "fold3": mmsa_split("fold3", 20, 4), "more": {"id": []}}
    file = write_pickle(tmp_path / "a.pkl", content)
    shift = "given:train=train,id_val=valid,ood_val=fold3"
    prepare(file, tmp_path / "out", reader="mmsa", shift=shift)
    assert load_dataset(tmp_path / "out").sizes == {"train": 40, "id_val": 16, "ood_val": 20}


@pytest.mark.parametrize("name", ["val", "validation", "Val", "dev"])
def test_validation_has_several_names(tmp_path: Path, name: str) -> None:
    content = mmsa_content()
    content[name] = content.pop("valid")
    assert "id_val" in read(tmp_path, content).samples["split"]


def test_a_split_of_one_class_names_the_source_and_the_way_out(tmp_path: Path) -> None:
    content = with_labels(lambda n: np.arange(n) % 2)
    content["valid"]["labels"] = np.ones(16)
    file = write_pickle(tmp_path / "a.pkl", content)
    with pytest.raises(InputError, match=r"a\.pkl: every split .*--shift given:train=train"):
        prepare(file, tmp_path / "out", reader="mmsa")
    constant = write_pickle(tmp_path / "b.pkl", with_labels(np.zeros))
    with pytest.raises(InputError, match="labels must vary, but every one is 0"):
        prepare(constant, tmp_path / "out", reader="mmsa")
