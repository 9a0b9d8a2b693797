"""A folder made elsewhere: one Parquet or CSV table of samples, one `<modality>.npy` each."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cmir.data.formats.inspection.texts import text_of
from cmir.data.formats.mmsa_columns import ENVIRONMENT_KEYS, LABEL_KEYS, UNIMODAL_LABELS
from cmir.data.formats.source import Chosen
from cmir.data.manifest import BROKEN_ARRAY
from cmir.data.parquet_table import read_table
from cmir.errors import InputError

_KNOWN = {"id", "split", "raw_text", *LABEL_KEYS, *ENVIRONMENT_KEYS, *UNIMODAL_LABELS}


def table_and_arrays(
    folder: Path, label: str | None = None
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The folder as `{split: {key: values}}`, and its columns that are environments.

    The table needs `id`, `split` and a label; `<modality>_length` or `<modality>_lengths` counts
    the valid steps; columns of text are environments. Row i of an array belongs to row i of the
    table. Arrays are mapped. The label, named by `label` if not by its usual key, may hold lists.

    Raises:
        InputError: there is not one table, or an array does not fit it.
    """
    table = _table(folder, {label, *LABEL_KEYS})
    arrays = {
        file.stem: _array(file, table.height)
        for file in sorted(folder.glob("*.npy"))
        if not file.stem.endswith(".pooled")
    }
    if not arrays:
        raise InputError(f"{folder}: there must be a file <modality>.npy, but there is none.")
    split = table["split"].cast(pl.String).to_numpy()
    texts = [
        name
        for name, dtype in table.schema.items()
        if dtype in (pl.String, pl.Categorical, pl.Enum) and name not in {label, *_KNOWN}
    ]
    content = {}
    for name in dict.fromkeys(split.tolist()):
        rows = np.flatnonzero(split == name).astype(np.int64)
        own = table[rows]
        content[str(name)] = {
            **{_key(column): own[column].to_list() for column in own.columns if column != "split"},
            **{key: Chosen(array, rows) for key, array in arrays.items()},
        }
    return content, texts


def _key(column: str) -> str:
    return f"{column}s" if column.endswith("_length") else column


def _table(folder: Path, labels: Container[str | None]) -> pl.DataFrame:
    if not folder.is_dir():
        raise InputError(f"{folder}: must be a folder with a .parquet or .csv file and .npy files.")
    files = sorted([*folder.glob("*.parquet"), *folder.glob("*.csv")])
    if len(files) != 1:
        raise InputError(
            f"{folder}: there must be one .parquet or .csv file with a row for each sample, but "
            f"there are {len(files)}. Join them to one."
        )
    table = read_table(files[0]) if files[0].suffix == ".parquet" else _csv_table(files[0])
    missing = [name for name in ("id", "split") if name not in table.columns]
    if missing:
        raise InputError(
            f"{files[0]}: must have the columns id and split, but {' and '.join(missing)} is not "
            f"among {', '.join(table.columns)}. Rename them."
        )
    nested = [
        name
        for name, dtype in table.schema.items()
        if dtype.is_nested() and not (name in labels and isinstance(dtype, pl.List | pl.Array))
    ]
    if nested:
        raise InputError(
            f"{files[0]}: every column must hold single values, but {nested[0]!r} holds "
            f"{table.schema[nested[0]]}. Convert or drop it."
        )
    binary = [name for name, dtype in table.schema.items() if dtype == pl.Binary]
    # As the readers of pickles do: not every export writes texts as UTF-8.
    texts = [
        pl.Series(name, [None if v is None else text_of(v) for v in table[name]], dtype=pl.String)
        for name in binary
    ]
    return table.with_columns(texts).with_columns(pl.col("id").cast(pl.String))


def _csv_table(file: Path) -> pl.DataFrame:
    try:
        return pl.read_csv(file, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: must be a CSV file with a head, but: {error}.") from None


def _array(file: Path, count: int) -> Any:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except BROKEN_ARRAY as error:
        raise InputError(f"{file}: must be a whole .npy file, but: {error}.") from None
    if array.ndim == 0 or len(array) != count:
        raise InputError(
            f"{file}: must have {count} rows, one for each row of the table, but has the shape "
            f"{array.shape}."
        )
    return array
