"""The development part of a dataset folder, as the files of a folder of its own, read in pieces.

Other hosts get this part and no more: no row of a held-out split is among it, neither its features
nor its label. Feature files are cut on the way, so that nothing is written where they lie.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.dataset import MultimodalDataset, load_dataset
from cmir.data.manifest import (
    DEVELOPMENT_SPLITS,
    MANIFEST_FILE,
    SAMPLES_FILE,
    STATISTICS_FILE,
    ArrayRecord,
    manifest_text,
)
from cmir.data.row_blocks import FloatArray, IntArray, forget
from cmir.data.synthetic.design import GROUND_TRUTH_ARRAYS

# Bytes that travel at a time, and that a sender or a receiver holds of a file.
PIECE = 8 << 20

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PartFile:
    """A file of the part.

    Attributes:
        name: in its folder, and in the whole one.
        size: bytes.
        sha256: of all of them.
        head: its first bytes, where the rest are rows of the whole file.
        row: bytes of such a row; 0 where it is no cut of the whole file.
        offset: of the first row in the whole file.
    """

    name: str
    size: int
    sha256: str
    head: bytes = b""
    row: int = 0
    offset: int = 0


@dataclass(frozen=True)
class PartListing:
    """What the part is made of.

    Attributes:
        files: all of them.
        runs: `[begin, end)` of the rows of the development splits in the whole feature files.
    """

    files: tuple[PartFile, ...]
    runs: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, eq=False)
class _Cut:
    """Rows of an array as the bytes of a .npy file."""

    array: FloatArray
    rows: IntArray
    head: bytes = field(init=False)

    def __post_init__(self) -> None:
        stream, shape = io.BytesIO(), (len(self.rows), *self.array.shape[1:])
        about = {"descr": self.array.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, about)
        object.__setattr__(self, "head", stream.getvalue())

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.array.shape[1:])

    @property
    def row(self) -> int:
        """Bytes of a row."""
        return int(np.prod(self.array.shape[1:])) * self.array.dtype.itemsize

    @property
    def size(self) -> int:
        return len(self.head) + self.row * len(self.rows)

    @property
    def offset(self) -> int | None:
        """Of the first row in its file; None where that does not hold rows one after the other."""
        is_plain = isinstance(self.array, np.memmap) and self.array.flags.c_contiguous
        return int(self.array.offset) if is_plain else None  # type: ignore[attr-defined]

    def read(self, start: int, size: int) -> Bytes:
        head = np.frombuffer(self.head[start : start + size], np.uint8)
        begin, end = (max(0, byte - len(self.head)) for byte in (start, start + size))
        first = begin // self.row
        rows = self.rows[first : -(-end // self.row)]
        block = np.ascontiguousarray(self.array[rows]).reshape(-1).view(np.uint8)
        forget(self.array)
        return np.concatenate([head, block[begin - first * self.row : end - first * self.row]])


class DevelopmentPart:
    """The part of a dataset folder that other hosts may have."""

    def __init__(self, folder: Path | str) -> None:
        """Opens the folder and reads all features of the part once, for their hashes.

        Raises:
            InputError: it is no dataset that a sweep can use.
        """
        dataset = load_dataset(folder)
        splits = dataset.metadata["split"].to_numpy()
        rows = np.flatnonzero(np.isin(splits, DEVELOPMENT_SPLITS)).astype(np.int64)
        self._cuts = _cuts(dataset, rows)
        self._small = _small_files(dataset, rows)
        hashes = {name: self._sha256(name) for name in self._cuts}
        self._small[MANIFEST_FILE] = _manifest(dataset, self._cuts, hashes, self._small)
        hashes |= {name: self._sha256(name) for name in self._small}
        self.listing = PartListing(
            tuple(self._listed(name, hashes[name]) for name in sorted(hashes)), _runs(rows)
        )

    def read(self, name: str, start: int, size: int) -> Bytes:
        """So many bytes of a file of the part, fewer at its end."""
        if name in self._small:
            return np.frombuffer(self._small[name][start : start + size], np.uint8)
        return self._cuts[name].read(start, size)

    def _size(self, name: str) -> int:
        return len(self._small[name]) if name in self._small else self._cuts[name].size

    def _sha256(self, name: str) -> str:
        digest = hashlib.sha256()
        for start in piece_starts(self._size(name)):
            digest.update(self.read(name, start, PIECE).data)
        return digest.hexdigest()

    def _listed(self, name: str, sha256: str) -> PartFile:
        cut = self._cuts.get(name)
        if cut is None or cut.offset is None:
            return PartFile(name, self._size(name), sha256)
        return PartFile(name, cut.size, sha256, cut.head, cut.row, cut.offset)


def piece_starts(size: int) -> Iterator[int]:
    """Where the pieces of a file of so many bytes begin."""
    return iter(range(0, size, PIECE))


def _cuts(dataset: MultimodalDataset, rows: IntArray) -> dict[str, _Cut]:
    found = {}
    for name, modality in dataset.modalities.items():
        found[f"{name}.npy"] = _Cut(modality.array, rows)
        if modality.pooled is not None:
            found[f"{name}.pooled.npy"] = _Cut(modality.pooled, rows)
    return found


def _small_files(dataset: MultimodalDataset, rows: IntArray) -> dict[str, bytes]:
    """What fits into memory: the table, the statistics, and what is known of synthetic data."""
    table, statistics = io.BytesIO(), dict[str, Any]()
    dataset.development_samples.write_parquet(table)
    for name, modality in dataset.modalities.items():
        statistics |= {f"{name}_mean": modality.mean, f"{name}_std": modality.std}
    found = {SAMPLES_FILE: table.getvalue(), STATISTICS_FILE: _archive(statistics)}
    truth = dataset.path / GROUND_TRUTH_ARRAYS
    if truth.is_file():
        with np.load(truth, allow_pickle=False) as content:
            found[truth.name] = _archive({name: content[name][rows] for name in content.files})
    return found


def _archive(arrays: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _manifest(
    dataset: MultimodalDataset,
    cuts: Mapping[str, _Cut],
    hashes: Mapping[str, str],
    small: Mapping[str, bytes],
) -> bytes:
    records = {
        name: ArrayRecord(
            shape=cuts[f"{name}.npy"].shape,
            dtype=modality.array.dtype.name,
            sha256=hashes[f"{name}.npy"],
        )
        for name, modality in dataset.modalities.items()
    }
    beside = {name: value for name, value in hashes.items() if name.endswith(".pooled.npy")}
    beside |= {name: hashlib.sha256(content).hexdigest() for name, content in small.items()}
    changes = {
        "name": dataset.name,
        "arrays": records,
        "derived": beside,
        "cut_from": dict(dataset.array_hashes),
    }
    return manifest_text(dataset.manifest.model_copy(update=changes)).encode()


def _runs(rows: IntArray) -> tuple[tuple[int, int], ...]:
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    return tuple((int(run[0]), int(run[-1]) + 1) for run in np.split(rows, breaks))
