"""What other hosts get of a data set: the development data to the bit, and nothing held out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cmir.config import trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.data.transport import development_part
from cmir.data.transport.development_part import DevelopmentPart
from cmir.method.environments.partitions import partition
from cmir.method.training.fitting import fit
from tests.support.made_data.mixed_splits import write_mixed
from tests.support.small_sweep import write_data


def written(part: DevelopmentPart, folder: Path) -> Path:
    """The part as a folder."""
    folder.mkdir()
    for file in part.listing.files:
        (folder / file.name).write_bytes(part.read(file.name, 0, file.size).tobytes())
    return folder


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write_mixed(tmp_path / "whole")


def by_hand(folder: Path) -> Path:
    """The folder as somebody makes it: a table and one file for each modality, in any order."""
    for name in ("dataset.json", "statistics.npz", "speech.pooled.npy"):
        (folder / name).unlink()
    speech = np.load(folder / "speech.npy")
    np.save(folder / "speech.npy", np.asfortranarray(speech))
    return folder


def assert_same(here: DevelopmentData, there: DevelopmentData) -> None:
    assert (here.name, here.task, here.checksum) == (there.name, there.task, there.checksum)
    for name, split in here.splits.items():
        other = there.splits[name]
        assert split.samples.equals(other.samples)
        assert split.labels.tobytes() == other.labels.tobytes()
        for modality, own in here.modalities.items():
            sent = there.modalities[modality]
            assert own.array[split.rows].tobytes() == sent.array[other.rows].tobytes()
            assert (own.mean.tobytes(), own.std.tobytes()) == (
                sent.mean.tobytes(),
                sent.std.tobytes(),
            )
            if own.pooled is not None and sent.pooled is not None:
                assert own.pooled[split.rows].tobytes() == sent.pooled[other.rows].tobytes()


@pytest.mark.parametrize("is_by_hand", [False, True])
def test_the_part_is_a_data_set_of_its_own_with_the_same_development_data(
    whole: Path, tmp_path: Path, is_by_hand: bool
) -> None:
    part = DevelopmentPart(by_hand(whole) if is_by_hand else whole)
    sent = load_dataset(written(part, tmp_path / "part"))
    sent.verify()
    development = load_dataset(whole).development()
    assert_same(development, sent.development())
    assert set(sent.sizes) == {"train", "id_val", "ood_val"}


def test_nothing_held_out_is_in_any_file_of_the_part(whole: Path, tmp_path: Path) -> None:
    folder = written(DevelopmentPart(whole), tmp_path / "part")
    table = pl.read_parquet(whole / "samples.parquet")
    rows = np.flatnonzero(table["split"].str.ends_with("_test").to_numpy())
    assert len(rows) > 10
    assert not set(table["id"][rows]) & set(pl.read_parquet(folder / "samples.parquet")["id"])
    content = b"".join(file.read_bytes() for file in sorted(folder.iterdir()))
    for name in ("speech.npy", "face.npy", "speech.pooled.npy"):
        array = np.load(whole / name)
        assert not any(array[row].tobytes() in content for row in rows)
        assert array[np.flatnonzero(table["split"] == "train")[0]].tobytes() in content


def test_training_on_the_part_gives_the_same_bits(tmp_path: Path) -> None:
    whole = write_data(tmp_path / "whole")
    config = trial_config(
        {
            "training.batch_size": 16,
            "training.epochs": 2,
            "model.representation_size": 8,
            "model.hidden_size": 8,
            "model.unimodal.text": "transformer",
            "environments.view": "swap",
            "environments.partition": "kmeans",
        },
        seeds=(0,),
    )
    here = load_dataset(whole).development()
    there = load_dataset(written(DevelopmentPart(whole), tmp_path / "part")).development()
    metrics = [[report.metrics for report in fit(data, config)] for data in (here, there)]
    assert metrics[0] == metrics[1]
    assert partition(here, "oracle").tolist() == partition(there, "oracle").tolist()


def test_any_piece_is_that_of_the_whole_file(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(development_part, "PIECE", 64)
    part = DevelopmentPart(whole)
    for file in part.listing.files:
        content = part.read(file.name, 0, file.size).tobytes()
        assert len(content) == file.size
        assert hashlib.sha256(content).hexdigest() == file.sha256
        for start in range(0, file.size, 61):
            assert part.read(file.name, start, 64).tobytes() == content[start : start + 64]


def test_the_part_says_what_it_was_cut_from(whole: Path, tmp_path: Path) -> None:
    folder = written(DevelopmentPart(whole), tmp_path / "part")
    recorded = json.loads((whole / "dataset.json").read_text())["arrays"]
    cut = json.loads((folder / "dataset.json").read_text())
    assert cut["cut_from"] == {name: record["sha256"] for name, record in recorded.items()}
    assert "cut_from" not in json.loads((whole / "dataset.json").read_text())
