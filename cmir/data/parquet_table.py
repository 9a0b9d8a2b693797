"""Parquet files as tables: a damaged one is a sentence, also where the library falls over it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from cmir.errors import InputError


def read_table(file: Path) -> pl.DataFrame:
    """The table of a Parquet file, read from memory: polars would else keep the file mapped.

    Raises:
        InputError: it is not a Parquet file, is damaged, or cannot be opened.
    """
    try:
        content = file.read_bytes()
        with _quiet():
            return pl.read_parquet(content)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{file}: must be a parquet file, but: {reason}.") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what threads of the library write to the terminal when they give up."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
