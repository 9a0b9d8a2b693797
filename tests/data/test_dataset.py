"""Dataset folders as they are opened: what each side sees, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cmir.data import DevelopmentData, load_dataset
from cmir.data.task import Task
from cmir.errors import InputError
from tests.support.made_data.small_data import (
    COUNT,
    SIZES,
    STEPS,
    small_features,
    small_samples,
    write_small,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_small(tmp_path / "small")


def change_samples(folder: Path, *expressions: pl.Expr) -> None:
    file = folder / "samples.parquet"
    pl.read_parquet(file.read_bytes()).with_columns(*expressions).write_parquet(file)


def change_manifest(folder: Path, **changes: Any) -> None:
    file = folder / "dataset.json"
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def put(column: str, row: int, value: object) -> pl.Expr:
    """The column with another value in one row."""
    is_row = pl.int_range(pl.len()) == row
    return pl.when(is_row).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)


def everything(data: DevelopmentData) -> list[object]:
    """All that training can reach, as plain values."""
    values: list[object] = [data.name, data.task, data.checksum]
    values.append(data.environment_columns)
    for split in data.splits.values():
        values += [split.name, split.rows.tolist(), split.labels.tolist()]
        values.append(split.samples.rows(named=True))
    for name, modality in data.modalities.items():
        values += [name, modality.array.tolist(), modality.mean.tolist(), modality.std.tolist()]
        values.append(None if modality.lengths is None else modality.lengths.tolist())
        values.append(None if modality.pooled is None else modality.pooled.tolist())
    return values


def test_features_come_back_as_they_were_written_and_stay_on_disk(folder: Path) -> None:
    modalities = load_dataset(folder).modalities
    assert list(modalities) == ["audio", "text"]
    for name, wanted in small_features().items():
        array = modalities[name].array
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        assert array.dtype == wanted.dtype
        np.testing.assert_array_equal(array, wanted)
    assert (modalities["text"].size, modalities["text"].steps) == (3, STEPS)
    assert (modalities["audio"].size, modalities["audio"].steps) == (4, None)
    assert modalities["audio"].lengths is None
    assert modalities["audio"].pooled is None


def test_each_split_holds_its_rows_labels_and_table_in_one_order(folder: Path) -> None:
    change_samples(folder, pl.col("split").reverse())
    samples = pl.read_parquet((folder / "samples.parquet").read_bytes())
    dataset = load_dataset(folder)
    splits = dataset.development().splits | dict(dataset.heldout().splits)
    assert {name: len(split) for name, split in splits.items()} == dataset.sizes
    for name, split in splits.items():
        wanted = samples.filter(pl.col("split") == name)
        assert split.name == name
        assert split.labels.dtype == np.float32
        assert split.rows.dtype == np.int64
        assert split.labels.tolist() == wanted["label"].to_list()
        assert split.samples.equals(wanted.drop("label"))
        assert [f"s{row}" for row in split.rows] == wanted["id"].to_list()


def test_statistics_are_those_of_the_valid_steps_of_train_alone(folder: Path) -> None:
    modalities, samples = load_dataset(folder).modalities, small_samples()
    steps = [
        step
        for row, (split, length) in enumerate(samples.select("split", "text_length").rows())
        for step in small_features()["text"][row, :length].astype(np.float64)
        if split == "train"
    ]
    np.testing.assert_allclose(modalities["text"].mean, np.mean(steps, axis=0), rtol=1e-6)
    np.testing.assert_allclose(modalities["text"].std, np.std(steps, axis=0), rtol=1e-6)
    vectors = small_features()["audio"][: SIZES["train"]].astype(np.float64)
    np.testing.assert_allclose(modalities["audio"].mean, vectors.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(modalities["audio"].std, vectors.std(axis=0), rtol=1e-6)


def test_the_std_of_a_constant_feature_is_one(tmp_path: Path) -> None:
    audio = np.full((COUNT, 3), 0.1, np.float32)
    audio[:, 1] = 1e30
    audio[::2, 2] = 0.2
    features = small_features() | {"audio": audio}
    std = load_dataset(write_small(tmp_path / "x", features=features)).modalities["audio"].std
    assert std[:2].tolist() == [1.0, 1.0]
    assert std[2] == pytest.approx(0.05)


def test_pooled_is_the_mean_over_the_valid_steps(folder: Path) -> None:
    text = load_dataset(folder).modalities["text"]
    assert text.lengths is not None
    assert text.pooled is not None
    assert text.lengths.dtype == np.int64
    for row, length in enumerate(small_samples()["text_length"]):
        wanted = small_features()["text"][row, :length].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(text.pooled[row], wanted, rtol=1e-6)


def test_longer_padding_changes_neither_pooled_nor_statistics(tmp_path: Path) -> None:
    features = small_features()
    padding = np.full((COUNT, 7, 3), 9.0, np.float16)
    longer = features | {"text": np.concatenate([features["text"], padding], axis=1)}
    short = load_dataset(write_small(tmp_path / "short")).modalities["text"]
    long = load_dataset(write_small(tmp_path / "long", features=longer)).modalities["text"]
    assert short.pooled is not None
    assert long.pooled is not None
    for one, other in zip(
        (short.pooled, short.mean, short.std), (long.pooled, long.mean, long.std), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_folder_made_by_hand_equals_a_written_one(folder: Path) -> None:
    written = everything(load_dataset(folder).development())
    (folder / "text.pooled.npy").unlink()
    (folder / "statistics.npz").unlink()
    change_manifest(folder, arrays=None, nonfinite=None, source=None, shift=None)
    assert everything(load_dataset(folder).development()) == written


def test_a_manifest_needs_format_and_task_alone(folder: Path) -> None:
    (folder / "dataset.json").write_text('{"format": 1, "task": "regression"}')
    dataset = load_dataset(folder)
    assert (dataset.name, dataset.task) == ("small", Task("regression"))


def test_a_folder_without_a_manifest_is_read_by_its_development_labels(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "small")
    written = everything(load_dataset(folder).development())
    remove("dataset.json")(folder)
    change_samples(
        folder, pl.when(SPLIT == "ood_test").then(99.0).otherwise("label").alias("label")
    )
    assert everything(load_dataset(folder).development()) == written
    samples = small_samples("binary")
    binary = write_small(tmp_path / "b", samples=samples, task="binary", label_range=None)
    remove("dataset.json")(binary)
    assert load_dataset(binary).task == Task("binary")


def test_numbered_and_categorical_groups_become_text(folder: Path) -> None:
    change_samples(folder, (pl.int_range(pl.len()) % 4).alias("speaker"))
    change_samples(folder, pl.col("raw_text").cast(pl.Categorical).alias("film"))
    train = load_dataset(folder).development().train.samples
    assert train["speaker"].to_list()[:5] == ["0", "1", "2", "3", "0"]
    assert train["film"][1] == "words of 1"


def test_without_recorded_lengths_every_step_is_valid(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "x", samples=small_samples().drop("text_length"))
    text = load_dataset(folder).modalities["text"]
    assert text.lengths is not None
    assert text.lengths.tolist() == [STEPS] * COUNT


def test_changing_every_held_out_label_changes_nothing_in_development(folder: Path) -> None:
    before = load_dataset(folder)
    is_test = pl.col("split").is_in(["id_test", "ood_test"])
    changed = pl.when(is_test).then(1 - pl.col("label")).otherwise("label")
    change_samples(folder, changed.alias("label"))
    after = load_dataset(folder)
    assert everything(after.development()) == everything(before.development())
    assert after.checksum != before.checksum
    assert after.heldout().splits["ood_test"].labels.tolist() != (
        before.heldout().splits["ood_test"].labels.tolist()
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param((pl.col("label") * 0.5).alias("label"), id="labels"),
        pytest.param(put("id", 0, "new"), id="an id"),
        pytest.param(put("speaker", 0, "new"), id="an environment"),
        pytest.param(put("text_length", 0, 1), id="a length"),
        pytest.param(put("split", 0, "ood_val"), id="a split"),
    ],
)
def test_a_change_of_a_development_sample_changes_both_checksums(
    folder: Path, change: pl.Expr
) -> None:
    before = load_dataset(folder)
    change_samples(folder, change)
    after = load_dataset(folder)
    assert after.checksum != before.checksum
    assert after.development().checksum != before.development().checksum


def test_checksums_depend_on_the_features_but_not_on_the_order_of_columns(tmp_path: Path) -> None:
    features = small_features()
    first = load_dataset(write_small(tmp_path / "first")).checksum
    samples = small_samples().select(reversed(small_samples().columns))
    reordered = load_dataset(write_small(tmp_path / "reordered", samples=samples)).checksum
    features["audio"][5, 2] += 1
    changed = load_dataset(write_small(tmp_path / "changed", features=features)).checksum
    assert first == reordered
    assert first != changed


def test_verify_finds_a_feature_file_that_was_changed_later(folder: Path) -> None:
    load_dataset(folder).verify()
    array = np.load(folder / "audio.npy", mmap_mode="r+")
    array[0, 0] += 1
    array.flush()
    with pytest.raises(InputError, match=r"audio\.npy: must have the sha256"):
        load_dataset(folder).verify()


def test_heldout_holds_the_splits_that_exist(tmp_path: Path) -> None:
    kept = small_samples()["split"] != "id_test"
    features = {name: array[kept.to_numpy()] for name, array in small_features().items()}
    folder = write_small(tmp_path / "x", samples=small_samples().filter(kept), features=features)
    heldout = load_dataset(folder).heldout()
    assert list(heldout.splits) == ["ood_test"]
    assert heldout.checksum == load_dataset(folder).checksum


def test_environment_columns_are_those_that_group_the_train_split(tmp_path: Path) -> None:
    samples = small_samples().with_columns(gaps=pl.lit("a"), same=pl.lit("one"), film=pl.col("id"))
    samples = samples.with_columns(put("gaps", 0, None))
    folder = write_small(tmp_path / "x", samples=samples)
    assert load_dataset(folder).development().environment_columns == ("speaker", "film")


def test_a_relative_path_still_leads_there_from_another_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert load_dataset("small").path == folder.resolve()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def save(name: str, array: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        np.save(folder / name, array)
        change_manifest(folder, arrays=None)

    return change


def with_value(array: Any, index: tuple[int, ...], value: float) -> Any:
    array[index] = value
    return array


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def samples_with(*expressions: pl.Expr) -> Callable[[Path], None]:
    return lambda folder: change_samples(folder, *expressions)


AUDIO, TEXT = small_features()["audio"], small_features()["text"]
SPLIT, LABEL = pl.col("split"), pl.col("label")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (remove("samples.parquet"), r"must hold samples\.parquet"),
        (remove("audio.npy"), r"audio\.npy: listed in dataset\.json, but there is no such file"),
        (lambda f: (f / "dataset.json").write_text("{"), "must be readable JSON"),
        (lambda f: (f / "dataset.json").write_text("[]"), "must be a JSON object, but got list"),
        (lambda f: change_manifest(f, format=2), r"dataset\.json: format: .*, but got 2"),
        (lambda f: change_manifest(f, task="ranking"), r"dataset\.json: task: .*'ranking'"),
        (lambda f: change_manifest(f, labels=[0]), r"dataset\.json: labels: Extra inputs"),
        (lambda f: change_manifest(f, label_range=[3, -3]), r"label_range: .*low < high"),
        (lambda f: truncate(f / "samples.parquet"), r"samples\.parquet: must be a parquet file"),
        (lambda f: truncate(f / "audio.npy"), r"audio\.npy: must be a whole \.npy .* truncated"),
        (lambda f: (f / "audio.npy").write_bytes(b"x"), r"audio\.npy: must be a whole \.npy"),
        (lambda f: np.save(f / "audio.npy", AUDIO[:, :2]), r"as dataset\.json says, but is"),
        (lambda f: np.save(f / "extra.npy", AUDIO), "must be listed .* but extra is not"),
        (save("Extra.npy", AUDIO), "a modality name must be a lower-case letter .*'Extra'"),
        (save("audio.npy", AUDIO[:-1]), "must have 32 rows, one for each row of .* but has 31"),
        (save("audio.npy", AUDIO.astype(np.float64)), "must be float32 or float16 .* float64"),
        (save("audio.npy", AUDIO.astype(">f4")), "must be float32 or float16 .* but is >f4"),
        (save("audio.npy", AUDIO[:, 0]), r"of shape \(N, T, D\) or \(N, D\), but is .*\(32,\)"),
        (save("audio.npy", AUDIO.astype(object)), r"audio\.npy: must be a whole \.npy file"),
        (save("audio.npy", with_value(AUDIO.copy(), (3, 1), np.nan)), "'s3' of train holds NaN"),
        (save("text.npy", with_value(TEXT.copy(), (13, 4, 0), np.inf)), "'s13' of id_val holds"),
        (save("text.pooled.npy", AUDIO), r"text\.pooled\.npy: must be float32 .* Delete it"),
        (lambda f: np.savez(f / "statistics.npz", a=AUDIO), r"statistics\.npz: .* Delete it"),
        (lambda f: truncate(f / "statistics.npz"), r"statistics\.npz: .* Delete it"),
        (samples_with(put("split", 0, "test")), "split .* but got test"),
        (samples_with(put("split", 0, None)), "split .* but got None"),
        (samples_with(SPLIT.replace("ood_val", "train")), "must hold samples, but ood_val"),
        (samples_with(SPLIT.replace("id_val", "train")), "must hold samples, but id_val"),
        (samples_with(SPLIT.replace("train", "id_val")), "must hold samples, but train"),
        (samples_with(put("id", 13, "s0")), "'s0' .* in train and id_val"),
        (samples_with(put("id", 31, "s0")), "'s0' .* in train and ood_test"),
        (samples_with(put("id", 13, None)), "every sample must have an id"),
        (samples_with(put("label", 2, np.nan)), "for 1 sample: 's2'"),
        (samples_with(put("label", 31, np.inf)), "for 1 sample: 's31'"),
        (samples_with(put("label", 2, None)), "for 1 sample: 's2'"),
        (samples_with(LABEL * np.nan), "for 32 samples: 's0', 's1', 's2', 's3', 's4', ..."),
        (samples_with(LABEL.cast(pl.String)), "'label' must hold numbers, but holds String"),
        (samples_with(pl.lit(0.5).alias("speaker")), "'speaker' must hold text, but holds Float64"),
        (samples_with(pl.lit(3).alias("txt_length")), "'txt_length' must hold text, but holds Int"),
        (lambda f: (f / "dataset.json").write_text('{"format": 1}'), "task: Field required.$"),
        (samples_with(pl.lit(3).alias("audio_length")), "audio_length is for sequences"),
        (samples_with(pl.lit(0).alias("text_length")), "between 1 and 5, .* but got 0 for 32"),
        (samples_with(put("text_length", 4, 6)), "but got 6 for 1 sample: 's4'"),
        (samples_with(put("text_length", 4, None)), "but got None for 1 sample"),
    ],
)
def test_what_is_no_dataset_is_refused(
    folder: Path, break_it: Callable[[Path], object], message: str
) -> None:
    load_dataset(folder)
    break_it(folder)
    with pytest.raises(InputError, match=message):
        load_dataset(folder)


@pytest.mark.parametrize("column", ["id", "split", "label"])
def test_a_missing_column_is_named(folder: Path, column: str) -> None:
    file = folder / "samples.parquet"
    pl.read_parquet(file.read_bytes()).drop(column).write_parquet(file)
    with pytest.raises(InputError, match=rf"but {column} is missing\. It has: .*speaker"):
        load_dataset(folder)


def test_a_missing_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such dataset folder\. Make one with .*prepare\.py"):
        load_dataset(tmp_path / "absent")


def test_a_folder_without_features_is_refused(folder: Path) -> None:
    for file in folder.glob("*.npy"):
        file.unlink()
    change_manifest(folder, arrays=None)
    with pytest.raises(InputError, match="at least one <modality>"):
        load_dataset(folder)


def test_binary_labels_are_zero_and_one_and_both_in_every_split(tmp_path: Path) -> None:
    samples = small_samples("binary")
    folder = write_small(tmp_path / "x", samples=samples, task="binary", label_range=None)
    assert load_dataset(folder).development().task == Task("binary")
    change_samples(folder, put("label", 1, 2.0))
    with pytest.raises(InputError, match=r"must be 0 or 1, but got 2\.0 for 1 sample: 's1'"):
        load_dataset(folder)
    change_samples(folder, pl.when(SPLIT == "ood_test").then(1.0).otherwise(0.0).alias("label"))
    with pytest.raises(InputError, match="both classes, but train holds only label 0"):
        load_dataset(folder)


def test_the_recorded_hash_is_that_of_the_file(folder: Path) -> None:
    records = load_dataset(folder).manifest.arrays
    assert records is not None
    assert set(records) == {"audio", "text"}
    for name, record in records.items():
        content = (folder / f"{name}.npy").read_bytes()
        assert record.sha256 == hashlib.sha256(content).hexdigest()


def test_verify_finds_means_over_steps_that_were_changed_later(folder: Path) -> None:
    file = next(folder.glob("*.pooled.npy"))
    pooled = np.load(file, mmap_mode="r+")
    pooled[0, 0] += 1
    pooled.flush()
    with pytest.raises(InputError, match=r"pooled\.npy: must have the sha256"):
        load_dataset(folder).verify()


def test_verify_passes_where_what_can_be_computed_is_not_there(folder: Path) -> None:
    (folder / "statistics.npz").unlink()
    load_dataset(folder).verify()
