"""Readers of the field's files: small files in the real layout, and one real file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.data.formats.readers import mmsa, npz
from cmir.data.formats.source import Source
from cmir.data.task import SENTIMENT, Task
from cmir.errors import InputError
from cmir.extensions import FILE_FORMATS
from tests.support.made_data.small_data import (
    STEPS,
    Content,
    mmsa_content,
    mmsa_split,
    write_npz,
    write_pickle,
)


def read(folder: Path, content: object, **options: Any) -> Source:
    return mmsa(write_pickle(folder / "features.pkl", content), **options)


def values(source: Source, modality: str) -> Any:
    return np.concatenate(list(source.blocks(modality)))


def with_key(key: str, value: Callable[[int], object]) -> Content:
    """MMSA's splits with one more key, or another value of one; made from the number of rows."""
    content = mmsa_content()
    for split in content.values():
        split[key] = value(len(split["id"]))
    return content


def test_the_splits_of_mmsa_become_ours_row_by_row(tmp_path: Path) -> None:
    content = mmsa_content()
    source = read(tmp_path, content)
    samples = source.samples
    assert samples["split"].to_list() == ["train"] * 40 + ["id_val"] * 16 + ["id_test"] * 16
    assert samples["id"].to_list() == [i for split in content.values() for i in split["id"]]
    assert samples["video"][41] == "valid1"
    assert samples["raw_text"][40] == "valid words 0"
    for name in ("regression_labels", "audio_lengths"):
        wanted = np.concatenate([split[name] for split in content.values()])
        found = samples["label" if name == "regression_labels" else "audio_length"]
        np.testing.assert_array_equal(found.to_numpy(), wanted)
    for name in ("text", "audio"):
        wanted = np.concatenate([split[name] for split in content.values()]).astype(np.float32)
        np.testing.assert_array_equal(values(source, name), wanted)


def test_a_single_step_is_stored_as_a_vector_and_other_keys_are_left_out(tmp_path: Path) -> None:
    source = read(tmp_path, with_key("classification_labels_T", lambda n: np.zeros(n)))
    assert set(source.parts) == {"text", "audio", "vision"}
    assert values(source, "vision").shape == (72, 4)
    assert "vision_length" not in source.samples.columns
    assert source.left_out == (
        "annotations", "classification_labels", "classification_labels_T", "text_bert"
    )  # fmt: skip


def test_every_float_array_along_the_samples_is_a_modality(tmp_path: Path) -> None:
    content = with_key("physiology", lambda n: np.ones((n, 7), np.float16))
    for split in content.values():
        del split["text"], split["vision"]
    source = read(tmp_path, content)
    assert set(source.parts) == {"audio", "physiology"}
    assert values(source, "physiology").dtype == np.float16


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [("f2", "float16"), ("f4", "float32"), ("f8", "float32"), (">f4", "float32")],
)
def test_half_and_single_precision_are_kept_and_double_becomes_single(
    tmp_path: Path, dtype: str, wanted: str
) -> None:
    source = read(tmp_path, with_key("audio", lambda n: np.ones((n, 2), dtype)))
    assert values(source, "audio").dtype == np.dtype(wanted)


def test_splits_of_two_precisions_become_single(tmp_path: Path) -> None:
    content = mmsa_content()
    content["train"]["text"] = content["train"]["text"].astype(np.float16)
    assert {block.dtype.name for block in read(tmp_path, content).blocks("text")} == {"float32"}


def test_without_lengths_every_step_is_valid_and_a_note_says_so(tmp_path: Path) -> None:
    source = read(tmp_path, mmsa_content())
    assert "text_length" not in source.samples.columns
    assert "text: no lengths in the source, every step counts as valid" in source.notes


def test_lengths_of_some_splits_leave_every_step_valid_in_the_others(tmp_path: Path) -> None:
    content = mmsa_content()
    content["valid"]["text_lengths"] = np.arange(16) % STEPS + 1
    lengths = read(tmp_path, content).samples["text_length"].to_list()
    assert lengths == [STEPS] * 40 + [i % STEPS + 1 for i in range(16)] + [STEPS] * 16


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("test_IID", "id_test"),
        ("ood_valid", "ood_val"),
        ("ood_val", "ood_val"),
        ("ood_test", "ood_test"),
        ("test_OOD", "ood_test"),
    ],
)
def test_further_splits_are_read(tmp_path: Path, name: str, ours: str) -> None:
    source = read(tmp_path, mmsa_content(train=8, dev=4, **{name: 6}))
    assert source.samples["split"].to_list() == ["train"] * 8 + ["id_val"] * 4 + [ours] * 6


def test_a_speaker_of_the_file_is_an_environment(tmp_path: Path) -> None:
    source = read(tmp_path, with_key("speaker", lambda n: np.arange(n) % 3))
    assert source.samples["speaker"].to_list()[:4] == ["0", "1", "2", "0"]
    assert source.samples["speaker"].dtype == source.samples["id"].dtype


def test_an_array_named_video_is_a_modality_beside_the_videos_of_the_ids(tmp_path: Path) -> None:
    source = read(tmp_path, with_key("video", lambda n: np.ones((n, 7), np.float32)))
    assert "video" in source.parts
    assert source.samples["video"][0] == "train0"


def test_ids_of_another_form_give_no_video_column(tmp_path: Path) -> None:
    content = mmsa_content()
    for name, split in content.items():
        split["id"] = np.array([f"{name}-{index}" for index in range(len(split["id"]))], object)
    source = read(tmp_path, content)
    assert "video" not in source.samples.columns
    assert "no video column: not every id has the form video$_$clip" in source.notes


def test_ids_in_parts_and_in_bytes_are_joined(tmp_path: Path) -> None:
    content = mmsa_content()
    for name, split in content.items():
        split["id"] = [[f"{name}é".encode(), index] for index in range(len(split["id"]))]
    samples = read(tmp_path, content).samples
    assert samples.row(0, named=True)["id"] == "trainé$_$0"
    assert samples["video"][0] == "trainé"


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (lambda n: np.arange(n) % 2, Task("binary")),
        (lambda n: np.linspace(-1, 1, n), Task("regression", (-1.0, 1.0))),
        (lambda n: np.linspace(-3, 3, n), SENTIMENT),
        (lambda n: np.linspace(0, 1.5, n).reshape(n, 1, 1), SENTIMENT),
        (lambda n: np.linspace(0, 100, n), Task("regression")),
        (lambda n: list(np.linspace(0, 1, n)), Task("regression", (-1.0, 1.0))),
    ],
)
def test_task_and_range_follow_from_the_labels(
    tmp_path: Path,
    labels: Callable[[int], Any],
    task: Task,
) -> None:
    source = read(tmp_path, with_key("regression_labels", labels))
    assert source.task == task


def test_the_task_can_be_said(tmp_path: Path) -> None:
    content = with_key("regression_labels", lambda n: np.arange(n) % 2)
    source = read(tmp_path, content, task="regression")
    assert source.task == Task("regression", (-1.0, 1.0))


def test_another_label_can_be_named(tmp_path: Path) -> None:
    content = with_key("regression_labels_A", lambda n: np.full(n, 0.25))
    source = read(tmp_path, content, label="regression_labels_A")
    assert set(source.samples["label"]) == {0.25}
    assert "regression_labels" in source.left_out


def test_two_classes_are_found_without_regression_labels(tmp_path: Path) -> None:
    content = with_key("classification_labels", lambda n: np.arange(n) % 2)
    for split in content.values():
        del split["regression_labels"]
    source = read(tmp_path, content)
    assert source.task == Task("binary")
    assert source.samples["label"].to_list()[:3] == [0.0, 1.0, 0.0]


def broken(split: str, **changes: Any) -> Callable[[], object]:
    """MMSA's content with keys of one split changed; None removes a key."""

    def make() -> object:
        content = mmsa_content()
        merged = content[split] | changes
        content[split] = {key: value for key, value in merged.items() if value is not None}
        return content

    return make


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: [1, 2], r"must hold a dict \{split: .* but holds list"),
        (lambda: {}, "must hold a dict"),
        (lambda: {"train": np.zeros(3)}, "train must be a dict of arrays, but is ndarray"),
        (lambda: mmsa_content(train=4, valid=4, fold3=4), "named train, valid, .* got fold3"),
        (lambda: mmsa_content(train=4, valid=4, dev=4), "two splits mean id_val, .* is dev"),
        (lambda: mmsa_content(valid=4, test=4), "split named train, but there are only valid, t"),
        (lambda: mmsa_content(train=4, test=4), "split named valid or dev, but there are only tr"),
        (broken("valid", id=None), "id_val: must have the key 'id', .* has only raw_text, text"),
        (broken("valid", id=[]), "id_val: must hold samples, but 'id' is empty"),
        (broken("valid", id="abc"), "id_val: id: must be a list of texts, but is str"),
        (broken("valid", id=np.array("abc")), "id_val: id: .* but is a single value"),
        (broken("valid", audio=None), "id_val: must have the modality 'audio', as train has"),
        (broken("train", audio=None), "id_val also has audio"),
        (broken("valid", audio=np.ones((15, 8, 3))), "id_val: audio must have 16 rows, .* has 15"),
        (broken("train", audio=np.ones((39, 8, 3))), "train: audio must have 40 rows, .* has 39"),
        (broken("valid", audio=np.ones((16, 8, 4))), r"\(8, 3\) in train and \(8, 4\) in id_val"),
        (broken("train", text=["a"] * 40), "train: text must be a floating-point array .* list"),
        (broken("train", text=np.ones((40, 2), int)), r"floating-point .* int64 \(40, 2\)"),
        (broken("valid", regression_labels=None), "id_val: must have the key 'regression_labels'"),
        (broken("valid", regression_labels=np.ones(3)), "must hold 16 numbers, .* holds 3"),
        (broken("valid", regression_labels=["good"] * 16), "must hold one number for each sample"),
        (broken("valid", audio_lengths=[-1] + [1] * 15), r"from 1 to 8, .* but got -1 \(1 of 72"),
        (broken("valid", audio_lengths=[1.5] * 16), "whole numbers from 1 to 8, .* but got 1.5"),
        (broken("valid", audio_lengths=[1] * 15), "audio_lengths must hold 16 numbers"),
        (broken("valid", raw_text=["a"]), "id_val: raw_text must hold 16 texts, .* but holds 1"),
        (lambda: with_key("Face", lambda n: np.ones((n, 2))), "lower-case letter .* 'Face'"),
    ],
)
def test_another_layout_is_refused(
    tmp_path: Path, content: Callable[[], object], message: str
) -> None:
    with pytest.raises(InputError, match=rf"features\.pkl: .*{message}"):
        read(tmp_path, content())


def test_a_source_without_features_or_labels_is_refused(tmp_path: Path) -> None:
    split = {"id": ["a$_$1"], "regression_labels": [1.0], "audio": np.ones((1, 2))}
    for key, message in (("audio", "must hold a modality"), ("regression_labels", "label under")):
        kept = {name: value for name, value in split.items() if name != key}
        with pytest.raises(InputError, match=message):
            read(tmp_path, {"train": kept, "valid": kept})


def test_npz_reads_the_same_content_as_mmsa(tmp_path: Path) -> None:
    content = mmsa_content()
    from_pickle = read(tmp_path, content)
    from_npz = npz(write_npz(tmp_path / "features.npz", content))
    assert from_npz.samples.equals(from_pickle.samples)
    assert from_npz.left_out == from_pickle.left_out
    for name in ("text", "audio", "vision"):
        np.testing.assert_array_equal(values(from_npz, name), values(from_pickle, name))


def test_npz_refuses_pickled_objects(tmp_path: Path) -> None:
    objects = np.array([{"code": 1}, None], dtype=object)
    file = write_npz(tmp_path / "features.npz", {"train": {"audio": objects}})
    with pytest.raises(InputError, match=r"features\.npz: must be a whole \.npz .* Object arrays"):
        npz(file)


def test_npz_refuses_keys_of_another_form(tmp_path: Path) -> None:
    file = tmp_path / "features.npz"
    np.savez(file, train_audio=np.ones(3))
    with pytest.raises(InputError, match=r"form <split>/<key>, .* but got 'train_audio'"):
        npz(file)


def test_npz_refuses_missing_truncated_and_other_files(tmp_path: Path) -> None:
    file = write_npz(tmp_path / "features.npz", mmsa_content())
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"features\.npz: must be a whole \.npz"):
        npz(file)
    file.write_text("id,label\n")
    with pytest.raises(InputError, match=r"features\.npz: must be a whole \.npz"):
        npz(file)
    np.save(tmp_path / "features.npy", np.ones(3))
    with pytest.raises(InputError, match=r"is a single \.npy array"):
        npz(tmp_path / "features.npy")
    with pytest.raises(InputError, match=r"absent\.npz: cannot be read: No such file"):
        npz(tmp_path / "absent.npz")


def test_damage_inside_an_npz_is_found(tmp_path: Path) -> None:
    file = write_npz(tmp_path / "features.npz", mmsa_content())
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"features\.npz: must be a whole \.npz"):
        npz(file)


def test_the_readers_are_listed_by_the_name_of_their_command() -> None:
    named = {name: one.make.__name__ for name, one in FILE_FORMATS.items()}
    known = ("mmsa", "npz", "mag", "funny", "folder", "dialogues", "mintrec")
    assert named == {name: name for name in known}


def test_features_are_read_in_blocks_of_bounded_size(tmp_path: Path) -> None:
    split = mmsa_split("train", 6, 2) | {"text": np.ones((6, 1000, 1000), np.float16)}
    valid = split | {"id": [f"valid$_${row}" for row in range(6)]}
    blocks = list(read(tmp_path, {"train": split, "valid": valid}).blocks("text"))
    assert [len(block) for block in blocks] == [4, 2, 4, 2]


def test_the_real_mosi_file_is_read(mosi_file: Path) -> None:
    source = mmsa(mosi_file)
    counts = dict(source.samples["split"].value_counts().iter_rows())
    assert counts == {"train": 1280, "id_val": 164, "ood_val": 201, "ood_test": 254}
    shapes = {name: (parts[0].dtype.name, parts[0].shape) for name, parts in source.parts.items()}
    assert shapes == {
        "text": ("float16", (1280, 40, 128)),
        "audio": ("float32", (1280, 73)),
        "vision": ("float32", (1280, 100)),
    }
    assert source.task == SENTIMENT
    assert source.samples["video"].n_unique() == 80
    assert source.samples["text_length"].is_between(1, 40).all()
    assert source.left_out == source.notes == ()
