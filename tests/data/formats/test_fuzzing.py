"""Broken files: an `InputError` or a data set, never another error, and nothing in them runs."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cmir.data.formats.readers import read_source
from cmir.errors import InputError

fuzz_readers = pytest.importorskip("tests.support.fuzz_readers", reason="needs hypothesis")

EXAMPLES = {
    "pickles": 40,
    "prepared": 6,
    "archives": 30,
    "folders": 30,
    "requests": 40,
    "spaces": 10,
}


@pytest.mark.parametrize("target", EXAMPLES)
def test_the_same_broken_files_every_time(target: str) -> None:
    fuzz_readers.run(target, EXAMPLES[target], repeatable=True)


def test_every_target_is_tried() -> None:
    assert set(EXAMPLES) == set(fuzz_readers.TARGETS)


# What longer runs found.


def test_a_header_that_is_no_python_is_a_broken_array(tmp_path: Path) -> None:
    pl.DataFrame({"id": ["a"], "split": ["train"]}).write_parquet(tmp_path / "a.parquet")
    header = b"{cos\nsystem\n(S'true'\ntR. 'shape': (1, 3, 2), }".ljust(117) + b"\n"
    (tmp_path / "audio.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + header + bytes(24))
    with pytest.raises(InputError, match=r"audio\.npy: must be a whole \.npy file"):
        read_source("folder", [tmp_path])


def test_ids_that_are_bytes_in_a_table_are_read_or_refused(tmp_path: Path) -> None:
    table = pl.DataFrame(
        {"id": [b"\xff", b"\xe9"], "split": ["train", "valid"], "label": [0.5] * 2}
    )
    table.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="there must be a file <modality>"):
        read_source("folder", [tmp_path])
