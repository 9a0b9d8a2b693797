"""The table of samples: what `samples.parquet` must hold, and its checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from cmir.data.label_checks import (
    check_classes,
    check_ids_and_labels,
    may_be_classes,
    named,
    shown_values,
    usual_task,
)
from cmir.data.manifest import DEVELOPMENT_SPLITS, SAMPLES_FILE, SPLITS, Manifest
from cmir.data.parquet_table import read_table
from cmir.data.row_blocks import IntArray
from cmir.data.task import Task
from cmir.errors import InputError

REQUIRED_COLUMNS = ("id", "split", "label")


def read_samples(folder: Path) -> pl.DataFrame:
    """Read `samples.parquet`, unchecked.

    Raises:
        InputError: the file is missing or not a parquet file.
    """
    file = folder / SAMPLES_FILE
    if not file.is_file():
        raise InputError(f"{folder}: a dataset folder must hold {SAMPLES_FILE}, but it does not.")
    return read_table(file)


def check_samples(
    samples: pl.DataFrame, *, task: Task, modalities: Iterable[str], where: str
) -> pl.DataFrame:
    """Return the table with its fixed dtypes, or refuse it.

    Args:
        samples: one row per sample; columns `id`, `split`, `label`, optional `raw_text`,
            `<modality>_length`, further labels `label_<name>`, which hold numbers, and
            environment columns, which hold text or whole numbers.
        task: decides what labels are: numbers, or lists of them for a multilabel task; see
            `check_classes`.
        modalities: names of the modalities; a sequence may have a `<modality>_length` column.
        where: the file named in messages.

    Raises:
        InputError: a missing column, a wrong dtype, an unknown or empty split, an id that
            occurs twice, a label that is not a finite number, labels that do not fit the task.
    """
    lengths = {f"{name}_length" for name in modalities}
    samples = _with_dtypes(samples, lengths & set(samples.columns), task, where)
    _check_splits(samples, where)
    check_ids_and_labels(samples, where)
    check_classes(samples, task, where)
    return samples


def _with_dtypes(samples: pl.DataFrame, lengths: set[str], task: Task, where: str) -> pl.DataFrame:
    missing = [name for name in REQUIRED_COLUMNS if name not in samples.columns]
    if missing:
        raise InputError(
            f"{where}: the columns id, split and label must be there, but {', '.join(missing)} "
            f"is missing. It has: {', '.join(samples.columns)}."
        )
    is_list = task.kind == "multilabel"
    for name, dtype in samples.schema.items():
        if name == "label" and is_list:
            _require(_holds_numbers(dtype), where, name, "lists of numbers", dtype)
        elif name == "label" or is_further_label(name):
            _require(dtype.is_numeric(), where, name, "numbers", dtype)
        elif name in lengths:
            _require(dtype.is_integer(), where, name, "integers", dtype)
        else:
            _require(_is_text(name, dtype), where, name, "text", dtype)
    return samples.with_columns(
        pl.col(name).cast(
            pl.List(pl.Float32)
            if name == "label" and is_list
            else pl.Float32
            if name == "label" or is_further_label(name)
            else pl.Int32
            if name in lengths
            else pl.String
        )
        for name in samples.columns
    )


def _holds_numbers(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.List | pl.Array) and dtype.inner.is_numeric()


def is_further_label(column: str) -> bool:
    """Whether a column holds a label beside the one that is learned, such as `label_text`."""
    return column.startswith("label_")


def _is_text(name: str, dtype: pl.DataType) -> bool:
    # Numbered groups are as good as named ones; a stray column of lengths is not a group.
    is_number = dtype.is_integer() and not name.endswith(("_length", "_lengths"))
    return is_number or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean)


def _require(holds: bool, where: str, name: str, wanted: str, dtype: pl.DataType) -> None:
    if not holds:
        raise InputError(
            f"{where}: column {name!r} must hold {wanted}, but holds {dtype}. Convert or drop it."
        )


def _check_splits(samples: pl.DataFrame, where: str) -> None:
    found = set(samples["split"].to_list())
    unknown = sorted(str(name) for name in found - set(SPLITS))
    if unknown:
        raise InputError(
            f"{where}: split must be one of {', '.join(SPLITS)}, but got {', '.join(unknown)}."
        )
    empty = [name for name in DEVELOPMENT_SPLITS if name not in found]
    if empty:
        raise InputError(
            f"{where}: the splits {', '.join(DEVELOPMENT_SPLITS)} must hold samples, but "
            f"{', '.join(empty)} holds none. `prepare.py --shift` makes ood splits."
        )


def infer_manifest(samples: pl.DataFrame, where: str) -> Manifest:
    """What `dataset.json` would say of a folder without it, from the development labels alone.

    Columns that are missing or of a wrong dtype are for `check_samples` to refuse.

    Raises:
        InputError: the labels may be the numbers of classes, or a scale.
    """
    if not {"split", "label"} <= set(samples.columns) or not samples["label"].dtype.is_numeric():
        return Manifest(format=1, task="regression")
    visible = samples.filter(pl.col("split").cast(pl.String).is_in(DEVELOPMENT_SPLITS))
    labels = visible["label"].drop_nulls().cast(pl.Float64).to_numpy()
    if may_be_classes(labels):
        raise InputError(
            f"{where}: the column label holds the whole numbers {shown_values(labels)}: classes or "
            'a scale? Say so in dataset.json: {"format": 1, "task": "classes", "names": [...]} or '
            '{"format": 1, "task": "regression"}.'
        )
    task = usual_task(labels)
    return Manifest(format=1, task=task.kind, label_range=task.label_range)


def read_lengths(
    samples: pl.DataFrame, name: str, shape: tuple[int, ...], where: str
) -> IntArray | None:
    """Valid steps of every sample, `(N,)`: all T where none are recorded; None for vectors.

    Args:
        samples: the table of samples.
        name: the modality.
        shape: `(N, T, D)` or `(N, D)`; the number of rows is not looked at.
        where: the file named in messages.

    Raises:
        InputError: a length is missing or outside 1 to T, or a vector modality has lengths.
    """
    column = f"{name}_length"
    if len(shape) == 2:
        if column in samples.columns:
            raise InputError(
                f"{where}: {column} is for sequences (N, T, D), but {name} holds vectors (N, D). "
                "Drop the column."
            )
        return None
    if column not in samples.columns:
        return np.full(samples.height, shape[1], np.int64)
    wrong = samples.filter(~pl.col(column).is_between(1, shape[1]).fill_null(False))
    if wrong.height:
        raise InputError(
            f"{where}: {column} must be between 1 and {shape[1]}, the steps of {name}, but got "
            f"{wrong[column][0]} for {named(wrong['id'])}."
        )
    return samples[column].to_numpy().astype(np.int64)


def digest_samples(samples: pl.DataFrame) -> str:
    """The sha256 of a table's values, independent of file format and order of columns."""
    digest = hashlib.sha256()
    for name in sorted(samples.columns):
        digest.update(f"{name}:{samples.height}:{samples.schema[name]}\n".encode())
        digest.update(_column_bytes(samples[name]))
    return digest.hexdigest()


def _column_bytes(column: pl.Series) -> bytes:
    if column.dtype == pl.String:
        encoded = (None if value is None else value.encode() for value in column)
        # The size before each text keeps ("ab", "c") apart from ("a", "bc").
        return b"".join(b"-:" if text is None else b"%d:%s" % (len(text), text) for text in encoded)
    values = (column.explode() if column.dtype == pl.List else column).to_numpy()
    return values.astype(values.dtype.newbyteorder("<")).tobytes()
