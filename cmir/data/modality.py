"""One modality of a dataset folder: opened memory-mapped, checked, with its statistics."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.checksums import file_sha256
from cmir.data.manifest import (
    BROKEN_ARRAY,
    FEATURE_DTYPES,
    SAMPLES_FILE,
    STATISTICS_FILE,
    Manifest,
    check_modality_name,
)
from cmir.data.row_blocks import (
    FloatArray,
    IntArray,
    moments_of_rows,
    pool_all,
    rows_with_nonfinite,
    scanned,
)
from cmir.data.samples import read_lengths
from cmir.errors import InputError

Statistics = Mapping[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]


@dataclass(frozen=True, eq=False)
class Modality:
    """The features of one modality for all rows of the dataset, memory-mapped and raw.

    Attributes:
        name: as in the file name.
        array: `(N, T, D)` or `(N, D)`, float32 or float16, read-only.
        lengths: valid steps of each row, `(N,)`; None for vectors.
        mean: `(D,)` per feature, over the valid steps of the train split.
        std: `(D,)` likewise; 1 for a constant feature.
        pooled: mean over the valid steps, `(N, D)` float32, raw units; None for vectors.
    """

    name: str
    array: FloatArray
    lengths: IntArray | None
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]
    pooled: npt.NDArray[np.float32] | None

    @property
    def size(self) -> int:
        """Number of features D."""
        return int(self.array.shape[-1])

    @property
    def steps(self) -> int | None:
        """Number of steps T, padding included; None for vectors."""
        return int(self.array.shape[1]) if self.array.ndim == 3 else None


def modality_names(folder: Path, manifest: Manifest) -> list[str]:
    """Names of the modalities of a dataset folder, sorted.

    Raises:
        InputError: there is none, one is not listed in `dataset.json`, or a name is not allowed.
    """
    found = {file.name.removesuffix(".npy") for file in folder.glob("*.npy")}
    found = {name for name in found if not name.endswith(".pooled")}
    listed = set(manifest.arrays) if manifest.arrays is not None else found
    if not listed:
        raise InputError(f"{folder}: a dataset must hold at least one <modality>.npy file.")
    if found - listed:
        raise InputError(
            f"{folder}: every .npy file must be listed under 'arrays' in dataset.json, but "
            f"{', '.join(sorted(found - listed))} is not. List it or move the file away."
        )
    return [check_modality_name(name, str(folder)) for name in sorted(listed)]


def open_array(folder: Path, name: str, manifest: Manifest) -> FloatArray:
    """Map `<name>.npy` into memory, `(N, T, D)` or `(N, D)`.

    Raises:
        InputError: the file is missing or truncated, its dtype or shape is not allowed or is
            not the one that `dataset.json` records.
    """
    file = folder / f"{name}.npy"
    array = _map(file)
    if array.dtype not in FEATURE_DTYPES or array.ndim not in (2, 3) or 0 in array.shape[1:]:
        raise InputError(
            f"{file}: must be float32 or float16 of shape (N, T, D) or (N, D), but is "
            f"{array.dtype} of shape {array.shape}. Save it again with the right dtype and shape."
        )
    record = (manifest.arrays or {}).get(name)
    if record and (tuple(record.shape), record.dtype) != (array.shape, array.dtype.name):
        raise InputError(
            f"{file}: must be {record.dtype} of shape {tuple(record.shape)} as dataset.json "
            f"says, but is {array.dtype} of shape {array.shape}. Prepare the dataset again."
        )
    return array


def _map(file: Path) -> FloatArray:
    try:
        array: FloatArray = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{file}: listed in dataset.json, but there is no such file.") from None
    except BROKEN_ARRAY as error:
        raise InputError(
            f"{file}: must be a whole .npy file, but cannot be mapped: {error}. "
            "It may be truncated: prepare the dataset again."
        ) from None
    return array


def open_modality(
    folder: Path,
    name: str,
    array: FloatArray,
    samples: pl.DataFrame,
    statistics: Statistics | None,
) -> Modality:
    """Check a mapped array against the table of samples; add lengths, statistics and pooled.

    Raises:
        InputError: another number of rows, a length outside 1 to T, or a non-finite feature.
    """
    if len(array) != samples.height:
        raise InputError(
            f"{folder / name}.npy: must have {samples.height} rows, one for each row of "
            f"{SAMPLES_FILE}, but has {len(array)}. Prepare the dataset again."
        )
    _check_finite(folder, name, array, samples)
    lengths = read_lengths(samples, name, array.shape, str(folder / SAMPLES_FILE))
    if statistics is not None:
        mean, std = statistics[name]
    else:
        train = np.flatnonzero(samples["split"].to_numpy() == "train").astype(np.int64)
        moments = moments_of_rows(array, lengths, train)
        mean, std = moments.mean, moments.std
    pooled = None if lengths is None else _pooled(folder, name, array, lengths)
    return Modality(name, array, lengths, mean, std, pooled)


def _check_finite(folder: Path, name: str, array: FloatArray, samples: pl.DataFrame) -> None:
    for rows, block in scanned(array):
        bad = rows_with_nonfinite(block)
        if len(bad):
            sample = samples.row(rows.start + int(bad[0]), named=True)
            raise InputError(
                f"{folder / name}.npy: features must be finite, but sample {sample['id']!r} of "
                f"{sample['split']} holds NaN or infinity. `prepare.py` replaces them by 0."
            )


def _pooled(
    folder: Path, name: str, array: FloatArray, lengths: IntArray
) -> npt.NDArray[np.float32]:
    file = folder / f"{name}.pooled.npy"
    if not file.is_file():
        return pool_all(array, lengths)
    pooled = _map(file)
    wanted = (array.shape[0], array.shape[2])
    if pooled.shape != wanted or pooled.dtype != np.float32:
        raise InputError(
            f"{file}: must be float32 of shape {wanted}, but is {pooled.dtype} of shape "
            f"{pooled.shape}. Delete it: it is computed when absent."
        )
    return pooled.view(np.float32)


def read_statistics(folder: Path, arrays: Mapping[str, FloatArray]) -> Statistics | None:
    """Mean and std per modality from `statistics.npz`; None where there is no such file.

    Raises:
        InputError: the file is broken or does not fit the arrays.
    """
    file = folder / STATISTICS_FILE
    if not file.is_file():
        return None
    try:
        # numpy leaves a broken archive open that it opened by name.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            found = {n: (content[f"{n}_mean"], content[f"{n}_std"]) for n in arrays}
    except (*BROKEN_ARRAY, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: {error}. Delete it: it is computed when absent.") from None
    for name, (mean, std) in found.items():
        size = arrays[name].shape[-1:]
        if mean.shape != size or std.shape != size or not (std > 0).all():
            raise InputError(
                f"{file}: {name} must have mean and std of shape {size} with std above 0, but "
                f"got shapes {mean.shape} and {std.shape}. Delete it: it is computed when absent."
            )
    return {n: (m.astype(np.float32), s.astype(np.float32)) for n, (m, s) in found.items()}


def array_hash(folder: Path, name: str, manifest: Manifest) -> str:
    """The recorded sha256 of `<name>.npy`; computed where `dataset.json` records none.

    Of a file that holds the rows of the development splits alone, it is that of the whole file:
    the checksum of the development data is the same in both.
    """
    if name in manifest.cut_from:
        return manifest.cut_from[name]
    record = (manifest.arrays or {}).get(name)
    return record.sha256 if record else file_sha256(folder / f"{name}.npy")
