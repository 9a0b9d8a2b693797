"""The only writer of dataset folders: streams features, and shows a whole folder or none."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.checksums import file_sha256
from cmir.data.manifest import (
    FEATURE_DTYPES,
    FORMAT,
    SAMPLES_FILE,
    STATISTICS_FILE,
    ArrayRecord,
    Manifest,
    check_modality_name,
    parse_manifest,
    task_record,
    write_manifest,
)
from cmir.data.row_blocks import (
    FloatArray,
    IntArray,
    Moments,
    add_valid,
    pool,
    row_blocks,
    rows_with_nonfinite,
)
from cmir.data.samples import check_samples, read_lengths
from cmir.data.staging import new_folder
from cmir.data.task import Task, TaskKind
from cmir.errors import InputError

Features = FloatArray | Iterable[FloatArray]
OnNonfinite = Literal["refuse", "zero"]


def write_dataset(
    path: Path | str,
    samples: Any,
    features: Mapping[str, Any],
    *,
    task: Task | TaskKind,
    label_range: tuple[float, float] | None = None,
    name: str | None = None,
    source: Mapping[str, Any] | None = None,
    shift: Mapping[str, Any] | None = None,
    nonfinite: OnNonfinite = "refuse",
    overwrite: bool = False,
    finish: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Write a dataset folder: all of it, or nothing.

    Args:
        path: the folder to make; its parents are made too.
        samples: columns `id`, `split`, `label`, optional `<modality>_length`, `raw_text` and
            environment columns (text), N rows: a table of polars, pandas, Arrow or Hugging Face's
            `datasets`, or a dict of columns. A `DatasetDict` brings `split` in its names.
        features: for each modality an array or a tensor `(N, T, D)` or `(N, D)`, float32 or
            float16, nested lists, or an iterable of such arrays that follow each other along the
            rows.
        task: what is learned; in short "regression" or "binary" (labels 0 and 1), which have no
            names.
        label_range: lowest and highest label of a regression scale, if it has one, for a task that
            is given in short.
        name: how the dataset is called; None: as the folder.
        source: where it comes from (file name, sha256, reader), where that is known.
        shift: how the out-of-distribution splits were made, likewise.
        nonfinite: "refuse" NaN and infinity in the features, or put "zero" in their place and
            count them in `dataset.json`.
        overwrite: replace a dataset folder that is there already.
        finish: given the folder before it appears, to put further files of a dataset there.

    Returns:
        The folder.

    Raises:
        InputError: samples and features do not make a dataset, or the folder cannot be written.
    """
    asked = task if isinstance(task, Task) else Task(task, label_range)
    content = {
        "format": FORMAT,
        "name": name or Path(path).resolve().name,
        **task_record(asked),
        "source": dict(source or {}),
        "shift": dict(shift or {}),
    }
    draft = parse_manifest(content, str(path))
    samples, features = _table(samples, str(path)), {k: _array(v) for k, v in features.items()}
    if not features:
        raise InputError(f"{path}: a dataset must have at least one modality, but got none.")
    checked = check_samples(samples, task=draft.task, modalities=features, where=f"{path}: samples")
    with new_folder(Path(path), overwrite) as folder:
        written = {
            key: _write_modality(folder, key, features[key], checked, nonfinite)
            for key in sorted(features)
        }
        checked.write_parquet(folder / SAMPLES_FILE)
        _write_statistics(folder, written)
        write_manifest(folder, _completed(draft, written, folder))
        finish(folder)
    return Path(path)


def _table(samples: Any, where: str) -> pl.DataFrame:
    """Any kind of table as one of polars."""
    if isinstance(samples, pl.DataFrame):
        return samples
    try:
        if isinstance(samples, Mapping) and samples and all(map(_is_view, samples.values())):
            parts = [(name, pl.DataFrame(_rows(part))) for name, part in samples.items()]
            return pl.concat([part.with_columns(split=pl.lit(str(name))) for name, part in parts])
        return pl.DataFrame(_rows(samples))
    except Exception as error:  # Polars has many, and some of them are Rust's.
        raise InputError(
            f"{where}: samples must be a table of polars, pandas, Arrow or Hugging Face's datasets,"
            f" or a dict of columns, but got {type(samples).__name__}: "
            f"{str(error).splitlines()[0]}."
        ) from None


def _is_view(samples: Any) -> bool:
    """Whether these are rows of a table of Hugging Face's `datasets`, chosen and in some order."""
    return hasattr(samples, "with_format")


def _rows(samples: Any) -> Any:
    """Those rows as an Arrow table; all else as it is."""
    return samples.with_format("arrow")[:] if _is_view(samples) else samples


def _array(features: Any) -> Any:
    """A tensor, nested lists or a column of a table as an array; all else as it is."""
    if hasattr(features, "detach"):
        features = features.detach().cpu()
    if hasattr(features, "numpy"):
        return features.numpy()
    if isinstance(features, np.ndarray) or not isinstance(features, Sequence) or not features:
        return features
    # A list of arrays is an array in parts.
    is_parts = isinstance(features, list | tuple) and hasattr(features[0], "dtype")
    return features if is_parts else np.asarray(features[:], np.float32)


@dataclass(frozen=True)
class _Written:
    record: ArrayRecord
    moments: Moments
    nonfinite: dict[str, Any] | None


def _completed(draft: Manifest, written: Mapping[str, _Written], folder: Path) -> Manifest:
    replaced = {key: w.nonfinite for key, w in written.items() if w.nonfinite is not None}
    arrays = {key: w.record for key, w in written.items()}
    beside = [folder / STATISTICS_FILE, *sorted(folder.glob("*.pooled.npy"))]
    derived = {file.name: file_sha256(file) for file in beside}
    content = {"arrays": arrays, "nonfinite": replaced, "derived": derived}
    return draft.model_copy(update=content)


def _write_statistics(folder: Path, written: Mapping[str, _Written]) -> None:
    statistics: dict[str, npt.NDArray[np.float32]] = {}
    for key, w in written.items():
        statistics[f"{key}_mean"], statistics[f"{key}_std"] = w.moments.mean, w.moments.std
    # Any: numpy types savez's own keyword `allow_pickle` into what ** may bring.
    arrays: dict[str, Any] = statistics
    np.savez(folder / STATISTICS_FILE, **arrays)


def _write_modality(
    folder: Path, key: str, features: Features, samples: pl.DataFrame, nonfinite: OnNonfinite
) -> _Written:
    where = f"features of {check_modality_name(key, 'features')!r}"
    chunks = _blocks(features, where)
    first = next(chunks, None)
    if first is None:
        raise InputError(f"{where}: must have {samples.height} rows, but there are none.")
    lengths = read_lengths(samples, key, first.shape, "samples")
    is_train = samples["split"].to_numpy() == "train"
    counts = np.zeros(first.shape[-1], np.int64)
    pooled: list[npt.NDArray[np.float32]] = []
    moments = Moments(first.shape[-1])
    with _ArrayFile(folder / f"{key}.npy", (samples.height, *first.shape[1:]), first.dtype) as out:
        for block in _chain(first, chunks):
            rows = out.next_rows(block, where)
            clean = _without_nonfinite(block, counts, nonfinite, samples["id"][rows], where)
            out.append(clean)
            valid = None if lengths is None else lengths[rows]
            train = is_train[rows]
            add_valid(moments, clean[train], None if valid is None else valid[train])
            if valid is not None:
                pooled.append(pool(clean, valid))
        record = out.finish(where)
    if pooled:
        np.save(folder / f"{key}.pooled.npy", np.concatenate(pooled))
    return _Written(record, moments, _count_record(counts))


def _blocks(features: Features, where: str) -> Iterator[FloatArray]:
    chunks = [features] if isinstance(features, np.ndarray) else features
    for chunk in chunks:
        if chunk.dtype not in FEATURE_DTYPES or chunk.ndim not in (2, 3) or 0 in chunk.shape:
            raise InputError(
                f"{where}: must be float32 or float16 of shape (N, T, D) or (N, D), but got "
                f"{chunk.dtype} of shape {chunk.shape}."
            )
        for rows in row_blocks(chunk.shape):
            yield chunk[rows]


def _chain(first: FloatArray, rest: Iterator[FloatArray]) -> Iterator[FloatArray]:
    yield first
    yield from rest


def _without_nonfinite(
    block: FloatArray, counts: IntArray, mode: OnNonfinite, ids: pl.Series, where: str
) -> FloatArray:
    bad = rows_with_nonfinite(block)
    if len(bad) == 0:
        return block
    if mode == "refuse":
        raise InputError(
            f"{where}: must be finite, but sample {ids[int(bad[0])]!r} holds NaN or infinity. "
            "Replace these values first."
        )
    wrong = ~np.isfinite(block)
    counts += wrong.reshape(-1, block.shape[-1]).sum(axis=0)
    return np.where(wrong, block.dtype.type(0), block)


def _count_record(counts: IntArray) -> dict[str, Any] | None:
    if not counts.any():
        return None
    columns = {str(column): int(counts[column]) for column in np.flatnonzero(counts)}
    return {"replaced_by": 0, "total": int(counts.sum()), "columns": columns}


class _ArrayFile:
    """A .npy file of known shape, written block by block and hashed on the way."""

    def __init__(self, file: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._shape, self._dtype, self._row = shape, dtype.newbyteorder("<"), 0
        self._digest = hashlib.sha256()
        self._stream = file.open("wb")
        header = io.BytesIO()
        description = np.lib.format.dtype_to_descr(self._dtype)
        np.lib.format.write_array_header_1_0(
            header, {"descr": description, "fortran_order": False, "shape": shape}
        )
        self._write(header.getvalue())

    def __enter__(self) -> _ArrayFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def next_rows(self, block: FloatArray, where: str) -> slice:
        """Rows this block will take; refuse a block that does not continue the array."""
        rows = slice(self._row, self._row + len(block))
        if block.shape[1:] != self._shape[1:] or block.dtype != self._dtype:
            raise InputError(
                f"{where}: every part must be {self._dtype} with rows of shape "
                f"{self._shape[1:]}, but rows {rows.start} to {rows.stop} are {block.dtype} "
                f"with rows of shape {block.shape[1:]}."
            )
        if rows.stop > self._shape[0]:
            raise InputError(
                f"{where}: must have {self._shape[0]} rows, one for each sample, but has more."
            )
        return rows

    def append(self, block: FloatArray) -> None:
        self._write(np.ascontiguousarray(block, self._dtype).reshape(-1).view(np.uint8).data)
        self._row += len(block)

    def finish(self, where: str) -> ArrayRecord:
        if self._row != self._shape[0]:
            raise InputError(
                f"{where}: must have {self._shape[0]} rows, one for each sample, but has "
                f"{self._row}."
            )
        return ArrayRecord(
            shape=self._shape, dtype=self._dtype.name, sha256=self._digest.hexdigest()
        )

    def _write(self, content: bytes | memoryview) -> None:
        self._stream.write(content)
        self._digest.update(content)
