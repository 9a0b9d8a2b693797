"""Labels of several columns, names of classes, and splits: answered with what is possible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
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
    with pytest.raises(
        InputError, match=r"holds 7 columns .* or choose one column: --label labels:0"
    ):
        read(tmp_path, content)
    with pytest.raises(InputError, match="--label labels:7: labels holds 7 columns"):
        read(tmp_path, content, label="labels:7")
    source = read(tmp_path, content, label="labels:2", task="regression")
    np.testing.assert_array_equal(source.samples["label"][:40], columns(40)[:, 0, 2])
    assert "labels" not in source.left_out


def test_yes_and_no_for_each_of_four_classes_are_columns(tmp_path: Path) -> None:
    content = with_labels(lambda n: np.eye(2)[np.arange(n * 4).reshape(n, 4) % 3 % 2])
    with pytest.raises(InputError, match=r"holds 8 columns .*\(columns of 0 and 1 are classes\)"):
        read(tmp_path, content)
    assert read(tmp_path, content, label="labels:3").task == Task("binary")


@pytest.mark.parametrize("names", [("joy", "anger", "fear"), (b"joy", b"anger", " fear ")])
def test_names_are_classes_in_the_order_of_the_alphabet(tmp_path: Path, names: Any) -> None:
    source = read(tmp_path, with_labels(lambda n: [names[i % 3] for i in range(n)]))
    assert source.task == Task("classes", names=("anger", "fear", "joy"))
    assert source.samples["label"][:4].to_list() == [2.0, 0.0, 1.0, 2.0]


def test_names_have_the_order_that_is_asked_for(tmp_path: Path) -> None:
    content = with_labels(lambda n: ["joy", "anger"] * (n // 2))
    source = read(tmp_path, content, names=("neutral", "joy", "anger"))
    assert source.samples["label"][:2].to_list() == [1.0, 2.0]
    with pytest.raises(InputError, match=r"one of joy, fear, but is 'anger': 36 samples: 'train1"):
        read(tmp_path, content, names=("joy", "fear"))


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (["a", None], {}, "labels must name a class, but is empty: 36 samples: 'train1"),
        (["a", "b"], {"task": "regression"}, "one number for each sample of a regression task"),
        (["a", "b"], {"task": "multilabel"}, "list of names for each sample of a multilabel task"),
        ([[1], [1, 2]], {}, "must hold one number, one name or one list of names: 72 samples"),
        (["joy", "a/b"], {}, r"names: must consist of letters, .* but got 'a/b'\. Rename it"),
        ([0, 1, 2, 3], {}, r"whole numbers 0, 1, 2, 3: classes or a scale\? Say which: --task cla"),
        ([0, 1], {"task": "multilabel"}, "must hold several numbers for each sample"),
        ([0, 1.5], {"task": "classes"}, "must hold whole numbers to be classes, .* 36 samples"),
        ([0, 3], {"names": ("a", "b")}, "must hold 0 to 1, which --names names, but not: 36 sam"),
        ([[0.5, 0.4], [1, 0]], {"task": "classes"}, "shares of classes that sum to 1, .*: 36 samp"),
        ([[0.5, 0.4], [1, 0]], {}, "--task multilabel --threshold 0 .* or choose one column"),
        ([[0.5, 0.4], [1, 0]], {"task": "binary"}, "a binary task has one label. Choose one"),
        ([[0, np.nan], [1, 0]], {}, "must hold finite numbers, but holds NaN .*: 36 samples: 'tr"),
        ([[0, 1], [1, 0]], {"names": ("a", "b", "c")}, "must name the 2 columns of labels, but"),
    ],
)
def test_labels_that_mean_nothing_or_two_things_are_refused(
    tmp_path: Path, value: list[Any], options: dict[str, Any], message: str
) -> None:
    content = with_labels(lambda n: [value[i % len(value)] for i in range(n)])
    with pytest.raises(InputError, match=message):
        read(tmp_path, content, **options)


def test_whole_numbers_are_what_the_user_says(tmp_path: Path) -> None:
    content = with_labels(lambda n: np.arange(n) % 3 + 1)
    assert read(tmp_path, content, task="regression").task == Task("regression", (-3.0, 3.0))
    source = read(tmp_path, content, task="classes")
    assert source.task == Task("classes", names=("1", "2", "3"))
    assert source.samples["label"][:3].to_list() == [0.0, 1.0, 2.0]
    content = with_labels(lambda n: np.arange(n) % 2)
    assert read(tmp_path, content).task == Task("binary")
    assert read(tmp_path, content, names=("no", "yes")).task == Task("classes", names=("no", "yes"))


def test_a_key_of_classes_takes_its_names_from_the_annotations(tmp_path: Path) -> None:
    content = with_labels(lambda n: np.arange(n) % 3, "classification_labels")
    words = np.array(["Negative", "Neutral", "Positive"])
    for split in content.values():
        split["annotations"] = words[np.arange(len(split["id"])) % 3]
    expected = Task("classes", names=("Negative", "Neutral", "Positive"))
    assert read(tmp_path, content).task == expected
    assert read(tmp_path, content, label="annotations").task == expected
    content["valid"]["annotations"] = np.array(["Negative"] * 16)
    assert read(tmp_path, content).task == Task("classes", names=("0", "1", "2"))


def test_one_hot_columns_are_classes_and_others_of_0_and_1_several_labels(tmp_path: Path) -> None:
    one_hot = read(tmp_path, with_labels(lambda n: np.eye(3)[np.arange(n) % 3]))
    assert one_hot.task == Task("classes", names=("0", "1", "2"))
    assert one_hot.samples["label"][:3].to_list() == [0.0, 1.0, 2.0]
    rows = np.array([[0, 0, 1], [1, 1, 0], [0, 1, 0]])
    several = read(tmp_path, with_labels(lambda n: rows[np.arange(n) % 3]), names=("a", "b", "c"))
    assert several.task == Task("multilabel", names=("a", "b", "c"))
    assert several.samples["label"][:3].to_list() == rows.tolist()


def test_shares_give_their_largest_class_and_the_card_says_so(tmp_path: Path) -> None:
    content = with_labels(lambda n: np.array([[0.2, 0.8], [0.7, 0.3]])[np.arange(n) % 2])
    source = read(tmp_path, content, task="classes")
    assert source.samples["label"][:2].to_list() == [1.0, 0.0]
    assert "labels: of shares the largest is the class" in source.notes


def test_lists_of_names_are_several_labels(tmp_path: Path) -> None:
    told = [["joy"], [], ["anger", "joy"]]
    source = read(tmp_path, with_labels(lambda n: [told[i % 3] for i in range(n)]))
    assert source.task == Task("multilabel", names=("anger", "joy"))
    assert source.samples["label"][:3].to_list() == [[0, 1], [0, 0], [1, 1]]


def test_intensities_under_keys_of_one_prefix_are_labels_above_a_threshold(tmp_path: Path) -> None:
    content = with_labels(lambda n: np.arange(n) % 2, "emotion_joy")
    for split in content.values():
        del split["classification_labels"]
        split["emotion_anger"] = np.arange(len(split["id"])) % 3 / 3
    source = read(tmp_path, content, threshold=0.5)
    assert source.task == Task("multilabel", names=("joy", "anger"), threshold=0.5)
    assert source.samples["label"].dtype == pl.List(pl.Float32)
    assert not {"emotion_joy", "emotion_anger"} & set(source.left_out)
    with pytest.raises(InputError, match=r"several keys that begin with mood_, but there are 0"):
        read(tmp_path, content, label="mood_*")


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
