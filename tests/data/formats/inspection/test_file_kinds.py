"""What a file is in words, with what to do: for each reader, and never a traceback."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cmir.data.formats.inspection.file_kinds import what_it_is
from cmir.data.formats.readers import read_source
from cmir.errors import InputError
from tests.support.made_data.small_data import mmsa_content, write_pickle
from tests.support.made_data.small_layouts import hkt_content

PICKLE = pickle.dumps(mmsa_content(train=4, valid=2))


def of_torch(new_format: bool) -> bytes:
    stream = io.BytesIO()
    torch.save({"a": torch.ones(2)}, stream, _use_new_zipfile_serialization=new_format)
    return stream.getvalue()


def of_zip(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, b"content")
    return stream.getvalue()


def of_numpy(write: Callable[..., None]) -> bytes:
    stream = io.BytesIO()
    write(stream, np.ones(3))
    return stream.getvalue()


KINDS = {
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "page": (b"\n <!-- saved -->\n<HTML><body>Sign in</body>", "web page"),
    "xml": (b"\xef\xbb\xbf<?xml version='1.0'?><Error>AccessDenied</Error>", "web page"),
    "gzip": (gzip.compress(PICKLE), "gunzip a.pkl"),
    "bzip2": (bz2.compress(PICKLE), "bunzip2 a.pkl"),
    "xz": (lzma.compress(PICKLE), "unxz a.pkl"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
    "torch": (of_torch(True), "torch.save"),
    "old torch": (of_torch(False), "torch.save"),
    "npz": (of_numpy(np.savez), "reader npz"),
    "npy": (of_numpy(np.save), "single .npy"),
    "zip": (of_zip("a.pkl"), "unzip a.pkl"),
    "broken zip": (b"PK\x03\x04 no archive", "broken zip"),
    "parquet": (b"PAR1" + bytes(20), "Parquet"),
    "json": (b'{"train": {"id": []}}', "JSON"),
    "csv": (b"id,label\na,1\n", "CSV"),
    "tsv": (b"id\tlabel\na\t1\n", "CSV"),
    "line ends": (pickle.dumps(mmsa_content(train=4, valid=2), 0).replace(b"\n", b"\r\n"), "LF to"),
    "empty": (b"", "empty"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", ["mmsa", "mag", "funny"])
def test_what_is_no_pickle_is_named(tmp_path: Path, kind: str, reader: str) -> None:
    content, words = KINDS[kind]
    file = tmp_path / "a.pkl"
    file.write_bytes(content)
    with pytest.raises(InputError, match=words) as refused:
        read_source(reader, [file])
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("kind", ["lfs", "page", "gzip", "hdf5", "csv", "old torch"])
def test_what_is_no_npz_is_named(tmp_path: Path, kind: str) -> None:
    content, words = KINDS[kind]
    file = tmp_path / "a.pkl"
    file.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_source("npz", [file])
    file.write_bytes(PICKLE)
    with pytest.raises(InputError, match=r"It is a pickle of arrays \(reader mmsa"):
        read_source("npz", [file])


def test_line_ends_changed_in_a_binary_pickle_are_named(tmp_path: Path) -> None:
    content = {"rows": [list(range(10, 11)) * 50, b"\n" * 20]}
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps(content, 2).replace(b"\n", b"\r\n"))
    with pytest.raises(InputError, match="line ends were changed"):
        read_source("mmsa", [file])


def test_a_sound_pickle_is_nothing_else(tmp_path: Path) -> None:
    for protocol in range(6):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(mmsa_content(train=4), protocol))
        assert what_it_is(tmp_path / "a.pkl") is None
    assert "reader" in str(what_it_is(tmp_path))
    assert what_it_is(tmp_path / "absent") is None


def test_another_readers_layout_is_named(tmp_path: Path) -> None:
    sample = ((["a"], np.ones((1, 2)), np.ones((1, 3))), 1.0, "clip")
    lists = write_pickle(tmp_path / "mag.pkl", {"train": [sample], "dev": [sample]})
    with pytest.raises(InputError, match=r"train must be a dict of arrays, .* the reader mag"):
        read_source("mmsa", [lists])
    jokes = write_pickle(tmp_path / "hkt.pkl", hkt_content())
    with pytest.raises(InputError, match="the layout of the reader funny"):
        read_source("mmsa", [jokes])
    arrays = write_pickle(tmp_path / "mmsa.pkl", mmsa_content())
    with pytest.raises(InputError, match="the layout of the reader mmsa"):
        read_source("mag", [arrays])
