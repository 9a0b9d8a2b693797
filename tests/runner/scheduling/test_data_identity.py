"""A copy of the data is the driver's data only if its content is."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cmir.data import load_dataset
from cmir.errors import PlaceError
from cmir.runner.scheduling.data_identity import DataIdentity, same_data
from tests.support.small_sweep import write_data


@pytest.fixture
def identity(tmp_path: Path) -> DataIdentity:
    write_data(tmp_path / "data")
    same_data.cache_clear()
    return DataIdentity.of(load_dataset(tmp_path / "data").development())


def copied(identity: DataIdentity) -> Path:
    """The folder, replaced by a copy of it, as on another host."""
    folder = Path(identity.folder)
    kept = folder.with_name("kept")
    folder.rename(kept)
    shutil.copytree(kept, folder)
    return folder


def test_the_folder_itself_and_a_faithful_copy_are_the_drivers_data(identity: DataIdentity) -> None:
    first = same_data(identity)
    copied(identity)
    same_data.cache_clear()
    assert same_data(identity).checksum == first.checksum


def test_no_data_and_other_labels_are_refused_with_what_was_wanted(identity: DataIdentity) -> None:
    table = copied(identity) / "samples.parquet"
    frame = pl.read_parquet(table)
    frame.with_columns(pl.col("label").reverse()).write_parquet(table)
    with pytest.raises(PlaceError, match=r"must be the driver's data, .*checksum .* but is .*"):
        same_data(identity)
    shutil.rmtree(identity.folder)
    with pytest.raises(PlaceError, match="no such dataset folder"):
        same_data(identity)


def test_labels_of_another_meaning_are_refused(identity: DataIdentity) -> None:
    manifest = copied(identity) / "dataset.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"label_range": [-9.0, 9.0]}))
    with pytest.raises(PlaceError, match=r"but is regression, labels in \[-9, 9\]"):
        same_data(identity)


def test_features_that_are_not_those_which_a_copy_records_are_refused(
    identity: DataIdentity,
) -> None:
    file = sorted(copied(identity).glob("*.npy"))[0]
    array, times = np.load(file), file.stat()
    np.save(file, array[::-1])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(PlaceError, match=r"must have the sha256 .* that dataset.json records"):
        same_data(identity)
