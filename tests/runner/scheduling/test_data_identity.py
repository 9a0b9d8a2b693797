"""A copy of the data is the driver's data only if its content is."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cmir.data import load_dataset
from cmir.data.transport.development_part import DevelopmentPart, PartFile, PartListing
from cmir.data.transport.part_arrival import PartSource, SourceError
from cmir.errors import PlaceError
from cmir.runner.scheduling.data_identity import DataIdentity, data_here, same_data
from cmir.runner.scheduling.data_server import DataSource
from tests.support.small_sweep import write_data


@pytest.fixture
def identity(tmp_path: Path) -> DataIdentity:
    write_data(tmp_path / "data")
    data_here.cache_clear()
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
    data_here.cache_clear()
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


@dataclasses.dataclass(frozen=True)
class Given(DataSource):
    """The driver's part as a source of its own, without Ray."""

    server: str
    is_broken: bool = False
    name: str = "the driver"

    def listing(self) -> PartListing:
        return DevelopmentPart(self.server).listing

    def sources(self, listing: PartListing) -> list[PartSource]:
        return [self]

    def gives(self, file: PartFile) -> bool:
        return True

    def pieces(self, file: PartFile) -> Iterator[bytes]:
        if self.is_broken:
            raise SourceError("it is gone")
        yield DevelopmentPart(self.server).read(file.name, 0, file.size).tobytes()


def elsewhere(identity: DataIdentity, is_broken: bool = False) -> DataIdentity:
    """The same data, but the driver's folder is not seen: it lies where only the source looks."""
    folder = Path(identity.folder)
    kept = folder.with_name("kept")
    folder.rename(kept)
    data_here.cache_clear()
    return dataclasses.replace(identity, source=Given(str(kept), is_broken=is_broken))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CMIR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "development"


def test_data_that_is_not_here_is_brought_once(identity: DataIdentity, cache: Path) -> None:
    wanted = elsewhere(identity)
    found = data_here(wanted)
    assert found.data.checksum == wanted.checksum
    assert found.data.path == cache / wanted.checksum
    assert found.notice.startswith(f"the data was brought into {cache} (0 MB in ")
    assert found.told_once()
    assert not found.told_once()
    data_here.cache_clear()
    gone = dataclasses.replace(wanted, source=Given("/nowhere"))
    assert data_here(gone).notice == ""


def test_other_data_under_the_same_path_is_left_alone_and_the_drivers_is_brought(
    identity: DataIdentity, cache: Path
) -> None:
    wanted = elsewhere(identity)
    other = shutil.copytree(Path(identity.folder).with_name("kept"), identity.folder)
    table = Path(other) / "samples.parquet"
    frame = pl.read_parquet(table)
    frame.with_columns(pl.col("label").reverse()).write_parquet(table)
    before = table.read_bytes()
    assert same_data(wanted).checksum == wanted.checksum
    assert same_data(wanted).path.parent == cache
    assert table.read_bytes() == before


@pytest.mark.parametrize("name", ["vision.npy", "samples.parquet", "dataset.json"])
def test_what_is_damaged_in_the_cache_is_brought_again(
    identity: DataIdentity, cache: Path, name: str
) -> None:
    wanted = elsewhere(identity)
    path = same_data(wanted).path / name
    content = path.read_bytes()
    path.write_bytes(content[:-8] + bytes(8))
    data_here.cache_clear()
    assert same_data(wanted).checksum == wanted.checksum
    assert path.read_bytes() == content


def test_a_host_that_cannot_bring_the_data_is_at_fault_and_nothing_is_left_there(
    identity: DataIdentity, cache: Path
) -> None:
    wanted = elsewhere(identity, is_broken=True)
    with pytest.raises(PlaceError, match="cannot be brought here: the driver: it is gone"):
        same_data(wanted)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
