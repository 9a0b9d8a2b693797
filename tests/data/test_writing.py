"""The writer of dataset folders: streams, and shows a whole folder or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cmir.data import load_dataset
from cmir.data import row_blocks as features_module
from cmir.errors import InputError
from tests.support.made_data.small_data import COUNT, small_features, small_samples, write_small


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def with_values(name: str, value: float, *indices: tuple[int, ...]) -> dict[str, Any]:
    features = small_features()
    for index in indices:
        features[name][index] = value
    return features


def test_chunks_make_the_same_files_as_whole_arrays(tmp_path: Path) -> None:
    whole = write_small(tmp_path / "whole")
    chunks = {
        name: (part for part in np.array_split(array, [3, 4, 20]))
        for name, array in small_features().items()
    }
    chunked = write_small(tmp_path / "chunked", features=chunks)
    for name in ("audio.npy", "text.npy", "text.pooled.npy", "samples.parquet", "dataset.json"):
        assert contents(chunked)[name] == contents(whole)[name]
    one, other = load_dataset(whole).modalities["text"], load_dataset(chunked).modalities["text"]
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-6)
    np.testing.assert_allclose(one.std, other.std, rtol=1e-6)


def test_the_size_of_blocks_changes_no_byte_of_the_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_small(tmp_path / "whole")
    monkeypatch.setattr(features_module, "BLOCK_VALUES", 7)
    blocked = write_small(tmp_path / "blocked")
    assert load_dataset(whole).checksum == load_dataset(blocked).checksum
    assert contents(whole)["text.pooled.npy"] == contents(blocked)["text.pooled.npy"]


def test_an_array_that_is_not_contiguous_is_written_by_its_values(tmp_path: Path) -> None:
    features = small_features()
    strided = {name: np.asfortranarray(array) for name, array in features.items()}
    folder = write_small(tmp_path / "x", features=strided)
    for name, array in features.items():
        np.testing.assert_array_equal(load_dataset(folder).modalities[name].array, array)


def test_the_writer_returns_the_folder_and_makes_its_parents(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "a" / "b" / "small")
    assert folder == tmp_path / "a" / "b" / "small"
    assert load_dataset(folder).name == "small"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "index"), [("audio", (5, 1)), ("text", (5, 4, 1))])
def test_nonfinite_features_are_refused_by_default(
    tmp_path: Path, name: str, index: tuple[int, ...], value: float
) -> None:
    with pytest.raises(InputError, match=rf"'{name}': must be finite, but sample 's5' holds"):
        write_small(tmp_path / "x", features=with_values(name, value, index))
    assert list(tmp_path.iterdir()) == []


def test_nonfinite_features_become_zero_and_are_counted_by_column(tmp_path: Path) -> None:
    features = with_values("audio", -np.inf, (0, 1), (30, 1), (30, 3))
    features["audio"][2, 3] = np.nan
    folder = write_small(tmp_path / "x", features=features, nonfinite="zero")
    dataset = load_dataset(folder)
    assert dataset.manifest.nonfinite == {
        "audio": {"replaced_by": 0, "total": 4, "columns": {"1": 2, "3": 2}}
    }
    wanted = np.where(np.isfinite(features["audio"]), features["audio"], 0)
    np.testing.assert_array_equal(dataset.modalities["audio"].array, wanted)
    np.testing.assert_allclose(dataset.modalities["audio"].mean, wanted[:12].mean(0), rtol=1e-6)


def test_finite_values_whose_sum_overflows_are_no_infinity(tmp_path: Path) -> None:
    features = with_values("audio", 3e38, (0, 0), (1, 0), (2, 0))
    features["audio"][:3, 1] = -3e38
    folder = write_small(tmp_path / "x", features=features)
    assert load_dataset(folder).modalities["audio"].array[0, 0] == np.float32(3e38)


def test_the_array_that_was_given_is_left_as_it_is(tmp_path: Path) -> None:
    features = with_values("audio", np.nan, (0, 1))
    write_small(tmp_path / "x", features=features, nonfinite="zero")
    assert np.isnan(features["audio"][0, 1])


def failing_chunks() -> Iterator[Any]:
    yield small_features()["audio"][:5]
    raise RuntimeError("the source broke off")


def test_a_failure_on_the_way_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="broke off"):
        write_small(
            tmp_path / "x",
            samples=small_samples().drop("text_length"),
            features={"audio": failing_chunks()},
        )
    assert list(tmp_path.iterdir()) == []


def test_a_failure_on_the_way_leaves_the_dataset_that_was_there(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "x")
    before = contents(folder)
    samples = small_samples().drop("text_length")
    with pytest.raises(RuntimeError, match="broke off"):
        write_small(folder, samples=samples, features={"audio": failing_chunks()}, overwrite=True)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_dataset_is_replaced_only_when_asked(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "x")
    with pytest.raises(InputError, match=r"there is a dataset already\. Use --overwrite"):
        write_small(folder, name="other")
    assert load_dataset(folder).name == "small"
    opened = load_dataset(folder).modalities["audio"].array
    features = {"audio": small_features()["audio"] + 1}
    samples = small_samples().drop("text_length")
    write_small(folder, name="other", samples=samples, features=features, overwrite=True)
    assert load_dataset(folder).name == "other"
    assert list(load_dataset(folder).modalities) == ["audio"]
    assert not (folder / "text.npy").exists()
    np.testing.assert_array_equal(opened, small_features()["audio"])
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not empty and is not a dataset, so it stays"):
        write_small(tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


def test_a_dataset_with_files_of_the_user_in_it_is_not_replaced(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "x")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"also holds notes\.txt, which replacing it would delete"):
        write_small(folder, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert load_dataset(write_small(tmp_path / "x")).name == "small"


@pytest.mark.parametrize("path", ["file", "file/below", "file/below/deeper"])
def test_a_file_in_the_way_is_reported(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match="but its path leads to a file"):
        write_small(tmp_path / path)
    assert contents(tmp_path) == {"file": b"kept"}


def only_audio(audio: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"features": {"audio": audio}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda: {"features": {}}, "at least one modality"),
        (only_audio(np.ones((COUNT - 1, 2), np.float32)), "must have 32 rows, .* but has 31"),
        (only_audio(np.ones((COUNT + 1, 2), np.float32)), "must have 32 rows, .* but has more"),
        (only_audio(np.ones((COUNT, 2))), "must be float32 or float16 .* but got float64"),
        (only_audio(np.ones(COUNT, np.float32)), r"but got float32 of shape \(32,\)"),
        (only_audio(np.ones((COUNT, 0), np.float32)), r"but got float32 of shape \(32, 0\)"),
        (only_audio([]), "must have 32 rows, but there are none"),
        (
            only_audio([np.ones((16, 2), np.float32), np.ones((16, 3), np.float32)]),
            r"every part must be float32 with rows of shape \(2,\), but rows 16 to 32",
        ),
        (
            only_audio([np.ones((16, 2), np.float32), np.ones((16, 2), np.float16)]),
            "rows 16 to 32 are float16",
        ),
        (lambda: {"features": {"Audio": small_features()["audio"]}}, "lower-case .* 'Audio'"),
        (lambda: {"task": "ranking"}, "task: .*'ranking'"),
        (lambda: {"label_range": (1.0, 1.0)}, "label_range: .*low < high"),
        (lambda: {"samples": small_samples().drop("split")}, "but split is missing"),
        (lambda: {"samples": small_samples().with_columns(split=pl.lit("train"))}, "id_val, ood"),
        (lambda: {"samples": small_samples().with_columns(text_length=9)}, "between 1 and 5"),
    ],
)
def test_what_makes_no_dataset_is_refused_and_nothing_is_written(
    tmp_path: Path, changes: Callable[[], dict[str, Any]], message: str
) -> None:
    arguments = {"samples": small_samples().drop("text_length"), **changes()}
    with pytest.raises(InputError, match=message):
        write_small(tmp_path / "x", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_source_and_shift_are_recorded_as_given(tmp_path: Path) -> None:
    source, shift = {"file": "a.pkl", "sha256": "0"}, {"scheme": "held_out", "groups": {"a": ["b"]}}
    folder = write_small(tmp_path / "x", source=source, shift=shift)
    content = json.loads((folder / "dataset.json").read_text())
    assert (content["source"], content["shift"], content["format"]) == (source, shift, 1)
    assert content["arrays"]["text"]["shape"] == [COUNT, 5, 3]
    assert content["arrays"]["text"]["dtype"] == "float16"
