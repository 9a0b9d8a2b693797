"""A folder of one table and arrays, made elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cmir.data.formats.readers import folder
from cmir.data.task import Task
from cmir.errors import InputError

COUNT = 30


def table() -> pl.DataFrame:
    split = np.array(["train", "valid", "test"])[np.arange(COUNT) % 3]
    return pl.DataFrame(
        {
            "id": range(COUNT),
            "split": split,
            "label": np.linspace(-1, 1, COUNT),
            "audio_length": np.arange(COUNT) % 4 + 1,
            "room": [f"room{index % 5}" for index in range(COUNT)],
            "raw_text": [f"text {index}" for index in range(COUNT)],
            "note": np.ones(COUNT),
        }
    )


def write(path: Path, samples: pl.DataFrame | None = None) -> Path:
    path.mkdir()
    (table() if samples is None else samples).write_parquet(path / "samples.parquet")
    rng = np.random.default_rng(0)
    np.save(path / "audio.npy", rng.normal(size=(COUNT, 4, 3)))
    np.save(path / "face.npy", rng.normal(size=(COUNT, 2)).astype(np.float16))
    np.save(path / "audio.pooled.npy", np.ones((1, 1)))
    return path


def test_rows_of_scattered_splits_stay_with_their_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "made")
    source = folder(path)
    order = source.samples["id"].cast(pl.Int64).to_numpy()
    assert sorted(order) == list(range(COUNT))
    audio = np.concatenate(list(source.blocks("audio")))
    np.testing.assert_array_equal(audio, np.load(path / "audio.npy")[order].astype(np.float32))
    face = np.concatenate(list(source.blocks("face")))
    assert face.dtype == np.float16
    np.testing.assert_array_equal(face, np.load(path / "face.npy")[order])
    given = table()[order]
    for name in ("room", "raw_text", "audio_length"):
        assert source.samples[name].to_list() == given[name].to_list()
    assert source.task.label_range == (-1.0, 1.0)
    assert source.left_out == ("note",)


def test_a_csv_with_names_of_classes_is_a_table_like_any_other(tmp_path: Path) -> None:
    path = write(tmp_path / "made")
    (path / "samples.parquet").unlink()
    words = ["joy", "anger", "fear"]
    named = table().with_columns(label=pl.Series([words[i % 3] for i in range(COUNT)]))
    named.write_csv(path / "samples.csv")
    source = folder(path)
    assert source.task == Task("classes", names=("anger", "fear", "joy"))
    assert "label" not in source.left_out
    renamed = named.rename({"label": "mood"})
    renamed.write_csv(path / "samples.csv")
    again = folder(path, label="mood")
    assert again.task == source.task
    assert "mood" not in again.samples.columns
    (path / "samples.csv").write_bytes(b'a,b\n1,2,3\n"')
    with pytest.raises(InputError, match=r"samples\.csv: must be a CSV file with a head, but: "):
        folder(path)


def test_a_column_of_lists_is_several_labels(tmp_path: Path) -> None:
    told = [[float(i % 2), float(i % 3 == 0)] for i in range(COUNT)]
    path = write(tmp_path / "made", table().with_columns(label=pl.Series(told)))
    source = folder(path, names=("joy", "anger"))
    assert source.task == Task("multilabel", names=("joy", "anger"))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (table().drop("split"), "must have the columns id and split, but split is not among"),
        (table().drop("label"), "train must have a label under one of"),
        (table().with_columns(audio_length=pl.lit(9)), "whole numbers from 1 to 4"),
        (table().head(29), r"audio\.npy: must have 29 rows, .* shape \(30, 4, 3\)"),
        (table().with_columns(split=pl.lit("fold7")), "but got fold7"),
        (table().with_columns(id=pl.concat_list("id")), r"'id' holds List"),
        (table().with_columns(id=pl.lit(None, pl.String)), "have none. Number them"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    tmp_path: Path, samples: pl.DataFrame, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        folder(write(tmp_path / "made", samples))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((COUNT, 3), np.int64), r"audio must be a floating-point array .* is int64 \("),
        (np.zeros((COUNT, 0), np.float32), r"audio must hold a feature at least"),
    ],
)
def test_an_array_that_is_no_modality_is_refused(
    tmp_path: Path, array: np.ndarray, message: str
) -> None:
    path = write(tmp_path / "made")
    np.save(path / "audio.npy", array)
    with pytest.raises(InputError, match=message):
        folder(path)


def test_a_missing_room_is_no_room_and_a_missing_text_is_empty(tmp_path: Path) -> None:
    is_first = pl.int_range(pl.len()) == 0
    given = table().with_columns(
        room=pl.when(is_first).then(None).otherwise("room"),
        raw_text=pl.when(is_first).then(None).otherwise("raw_text"),
    )
    samples = folder(write(tmp_path / "made", given)).samples
    first = samples.filter(id="0")
    assert (first["room"].to_list(), first["raw_text"].to_list()) == ([None], [""])
    assert samples["room"].null_count() == 1


def test_missing_and_broken_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "made")
    (path / "audio.npy").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"audio\.npy: must be a whole \.npy file"):
        folder(path)
    for file in path.glob("*.npy"):
        file.unlink()
    with pytest.raises(InputError, match=r"there must be a file <modality>\.npy"):
        folder(path)
    (path / "samples.parquet").write_bytes(b"broken")
    with pytest.raises(InputError, match="must be a parquet file"):
        folder(path)
    (path / "samples.parquet").unlink()
    with pytest.raises(InputError, match=r"one \.parquet or \.csv file .* there are 0"):
        folder(path)
    with pytest.raises(InputError, match=r"absent: must be a folder with a \.parquet"):
        folder(tmp_path / "absent")
