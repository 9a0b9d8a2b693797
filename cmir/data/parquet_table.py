"""Parquet files as tables: a damaged one is a sentence, also where the library falls over it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cmir.errors import InputError
from cmir.process.silence import silent_errors


def read_table(file: Path) -> pl.DataFrame:
    """The table of a Parquet file, read from memory: polars would else keep the file mapped.

    Raises:
        InputError: it is not a Parquet file, is damaged, or cannot be opened.
    """
    try:
        content = file.read_bytes()
        # Threads of polars write to the terminal when they give up.
        with silent_errors():
            return pl.read_parquet(content)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{file}: must be a parquet file, but: {reason}.") from None
