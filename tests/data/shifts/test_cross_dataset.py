"""Two data sets as one: trained on the first, tested on the other."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cmir.data import load_dataset
from cmir.data.formats.readers import mmsa
from cmir.data.preparing import prepare
from cmir.data.shifts.cross_dataset import crossed
from cmir.errors import InputError
from tests.support.made_data.small_data import mmsa_content, write_pickle
from tests.support.made_data.small_layouts import write_clue


def sources(folder: Path, **changes: Any) -> tuple[Path, Path]:
    """Two files; `changes` are keys of every split of the second, as functions of the values."""
    first = write_pickle(folder / "first.pkl", mmsa_content())
    content = mmsa_content(train=30, valid=10, test=12)
    for split in content.values():
        split["id"] = [f"other_{name}" for name in split["id"]]
        split["regression_labels"] = split["regression_labels"] / 3
        for key, change in changes.items():
            split[key] = change(split[key])
    return first, write_pickle(folder / "other.pkl", content)


def test_training_is_of_the_first_and_ood_of_the_other(tmp_path: Path) -> None:
    first, other = sources(tmp_path)
    folder = prepare(first, tmp_path / "out", reader="mmsa", shift=f"cross:{other}")
    dataset = load_dataset(folder)
    sizes = {"train": 40, "id_val": 16, "id_test": 16, "ood_val": 10, "ood_test": 12}
    assert dataset.sizes == sizes
    outside = dataset.metadata.filter(pl.col("split").str.starts_with("ood"))
    assert outside["id"].str.starts_with("other:").all()
    assert set(outside["source"]) == {"other"}


def test_labels_are_mapped_linearly_and_features_stay_with_them(tmp_path: Path) -> None:
    first, other = sources(tmp_path)
    folder = prepare(first, tmp_path / "out", reader="mmsa", shift=f"cross:{other}")
    dataset, theirs = load_dataset(folder), mmsa(other)
    valid = theirs.samples.with_row_index().filter(pl.col("split") == "id_val")
    outside = dataset.development().ood_val
    np.testing.assert_allclose(outside.labels, 3 * valid["label"].to_numpy(), rtol=1e-6)
    found = dataset.modalities["text"].array[outside.rows]
    np.testing.assert_array_equal(found, theirs.parts["text"][1])


def test_shorter_sequences_are_padded_and_the_padding_is_not_valid(tmp_path: Path) -> None:
    first, other = sources(tmp_path, text=lambda values: values[:, :3])
    source, record = crossed(mmsa(first), mmsa(other), "other")
    assert {part.shape[1:] for part in source.parts["text"]} == {(5, 6)}
    lengths = source.samples.filter(pl.col("source") == "other")["text_length"]
    assert set(lengths) == {3}
    assert not source.parts["text"][-1][0:12][:, 3:].any()
    assert record["label_map"] == [3.0, 0.0]


def test_one_range_is_not_mapped(tmp_path: Path) -> None:
    first, other = sources(tmp_path, regression_labels=lambda values: values * 3)
    assert crossed(mmsa(first), mmsa(other), "other")[1]["label_map"] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": lambda v: v[:, :, :4]}, "same modalities and sizes"),
        ({"vision": lambda v: np.repeat(v, 2, axis=1)}, "sequences or vectors alike"),
        ({"regression_labels": lambda v: (v > 0).astype(float)}, "must have one task"),
        (
            {"regression_labels": lambda v: v * 30},
            r"they are \(-3\.0, 3\.0\) in the source and None",
        ),
    ],
)
def test_data_sets_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    first, other = sources(tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        prepare(first, tmp_path / "out", reader="mmsa", shift=f"cross:{other}")


def test_a_folder_of_files_can_be_crossed(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    first, other = write_clue(tmp_path / "one" / "clue"), write_clue(tmp_path / "clue2")
    for file in other.glob("*.pkl"):
        samples = pickle.loads(file.read_bytes())
        renamed = [(content, label, f"other{segment}") for content, label, segment in samples]
        file.write_bytes(pickle.dumps(renamed))
    folder = prepare(first, tmp_path / "out", reader="mag", shift=f"cross:{other}")
    shift = load_dataset(folder).manifest.shift
    assert (shift["file"], len(shift["sha256"])) == ("clue2", 64)
    assert set(shift["files"]) == {f"{n}.pkl" for n in ("train", "dev", "test_IID", "test_OOD")}


def test_a_data_set_is_not_crossed_with_itself(tmp_path: Path) -> None:
    first, _ = sources(tmp_path)
    with pytest.raises(InputError, match="must be another data set than the source, but 72 of"):
        prepare(first, tmp_path / "out", reader="mmsa", shift=f"cross:{first}")
