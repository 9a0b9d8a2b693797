"""Parquet files with damaged bytes are refused in one sentence, and the terminal stays clean."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest

from cmir.data.parquet_table import read_table
from cmir.errors import InputError


def small_table() -> bytes:
    raw = io.BytesIO()
    count = 8
    cells = {"id": [f"v[{i}]" for i in range(count)], "label": [0.5] * count, "n": [1] * count}
    pl.DataFrame(cells).write_parquet(raw)
    return raw.getvalue()


def test_whatever_byte_is_damaged_the_answer_is_a_table_or_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    raw, file = small_table(), tmp_path / "a.parquet"
    told = []
    for place in range(4, len(raw)):
        damaged = bytearray(raw)
        damaged[place] ^= 0xFF
        file.write_bytes(damaged)
        try:
            read_table(file)
        except InputError as error:
            told.append(str(error))
    assert len(told) > 100
    assert all(one.startswith(f"{file}: must be a parquet file, but: ") for one in told)
    assert not any("\n" in one for one in told)
    assert capfd.readouterr().err == ""


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    file.write_text("id,split\n1,train\n")
    with pytest.raises(InputError, match="must be a parquet file, but: "):
        read_table(file)
