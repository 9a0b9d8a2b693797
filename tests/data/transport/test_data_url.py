"""Data sets at URLs: brought once, again when they change, and refused in one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import known_implementations

from cmir.data import load_dataset
from cmir.data.transport import data_url, development_part
from cmir.data.transport.data_url import NoSuchDataError, UrlSource, brought_folder, opened_url
from cmir.data.transport.development_part import DevelopmentPart
from cmir.data.transport.part_arrival import SourceError
from cmir.errors import InputError
from tests.support.made_data.mixed_splits import write_mixed


class ReadFileSystem(LocalFileSystem):  # type: ignore[misc]
    """Local files that remember what was read of them."""

    protocol = "read"
    ranges: list[tuple[str, int, int]] = []  # noqa: RUF012
    brought: list[str] = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return str(LocalFileSystem._strip_protocol(str(path).replace("read://", "file://")))

    def cat_file(self, path: str, start: Any = None, end: Any = None, **more: Any) -> Any:
        self.ranges.append((Path(path).name, start, end))
        return super().cat_file(path, start, end, **more)

    def get_file(self, path: str, *more: Any, **options: Any) -> None:
        self.brought.append(Path(path).name)
        super().get_file(path, *more, **options)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CMIR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Path]:
    fsspec.register_implementation("read", ReadFileSystem, clobber=True)
    yield write_mixed(tmp_path / "whole")
    ReadFileSystem.ranges.clear()
    ReadFileSystem.brought.clear()


def in_memory(folder: Path) -> str:
    system = fsspec.filesystem("memory")
    for file in folder.iterdir():
        system.pipe_file(f"/bucket/{folder.name}/{file.name}", file.read_bytes())
    return f"memory://bucket/{folder.name}"


@pytest.mark.parametrize("protocol", ["file", "memory"])
def test_a_data_set_at_a_url_is_the_one_that_lies_there(
    whole: Path, cache: Path, protocol: str
) -> None:
    url = in_memory(whole) if protocol == "memory" else f"file://{whole}"
    found = opened_url(url, "space.yaml: data.path")
    assert found.path.is_relative_to(cache)
    assert found.checksum == load_dataset(whole).checksum
    assert found.development().found_at == url


def test_what_was_brought_stays_until_it_changes_there(whole: Path) -> None:
    (whole / "notes.txt").write_text("no part of a data set")
    first = brought_folder(f"read://{whole}", "here")
    once = list(ReadFileSystem.brought)
    assert "speech.npy" in once
    assert "notes.txt" not in once
    assert brought_folder(f"read://{whole}", "here") == first
    assert once == ReadFileSystem.brought
    table = pl.read_parquet(whole / "samples.parquet")
    table.with_columns(pl.col("label").reverse()).write_parquet(whole / "samples.parquet")
    assert brought_folder(f"read://{whole}", "here") != first


def test_a_part_is_read_from_the_url_without_a_byte_of_held_out_samples(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (development_part, data_url):
        monkeypatch.setattr(module, "PIECE", 500)
    part = DevelopmentPart(whole)
    source = UrlSource(f"read://{whole}", part.listing)
    table = pl.read_parquet(whole / "samples.parquet")
    held_out = np.flatnonzero(table["split"].str.ends_with("_test").to_numpy())
    cut = [file for file in part.listing.files if source.gives(file)]
    assert {file.name for file in cut} == {"face.npy", "speech.npy", "speech.pooled.npy"}
    for file in cut:
        content = b"".join(source.pieces(file))
        assert content == part.read(file.name, 0, file.size).tobytes()
    assert len(ReadFileSystem.ranges) > 20
    for name, start, end in ReadFileSystem.ranges:
        file = next(one for one in cut if one.name == name)
        starts = file.offset + held_out * file.row
        assert end - start <= 500
        assert not ((start < starts + file.row) & (starts < end)).any()


def test_a_part_that_is_gone_from_its_url_is_no_error_of_the_place(whole: Path) -> None:
    part = DevelopmentPart(whole)
    shutil.rmtree(whole)
    source = UrlSource(f"file://{whole}", part.listing)
    (file,) = (one for one in part.listing.files if one.name == "face.npy")
    with pytest.raises(SourceError, match=r"No such file"):
        list(source.pieces(file))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("file:///nowhere/at/all", r"there is no such bucket or folder as file:///nowhere/at/all"),
        ("memory://no-bucket/data", "there is no such bucket or folder as memory://no-bucket"),
        (
            "nonsense://bucket/data",
            "nonsense://bucket/data cannot be read or written: Protocol not known",
        ),
        ("sftp://me:hidden@host/data", r"must hold no password or token, but is sftp://me:\*\*\*@"),
        ("https://host/data?token=abc", r"must hold no password or token, but is .*token=\*\*\*"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(url: str, told: str) -> None:
    with pytest.raises(InputError, match=rf"^space\.yaml: data\.path: .*{told}") as raised:
        opened_url(url, "space.yaml: data.path")
    assert "\n" not in str(raised.value)
    assert "hidden" not in str(raised.value)
    assert isinstance(raised.value, NoSuchDataError) == ("no such bucket" in told)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = {"class": "no_such_package.Files", "err": "Install no-such-package to read it"}
    monkeypatch.setitem(known_implementations, "absent", absent)
    told = "needs a package that is not installed: Install no-such-package to read it"
    with pytest.raises(InputError, match=told):
        brought_folder("absent://bucket/data", "here")


def test_no_permission_says_where_credentials_come_from(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, path: str, **more: Any) -> None:
        raise PermissionError("Forbidden: secret-of-the-environment")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-environment")
    monkeypatch.setattr(ReadFileSystem, "ls", refuse)
    told = r"must be readable, but access is denied: Forbidden: \*\*\*. Credentials come from"
    with pytest.raises(InputError, match=told):
        brought_folder(f"read://{whole}", "here")


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be a dataset folder, which holds samples\.parquet"):
        brought_folder(f"file://{tmp_path}", "here")
