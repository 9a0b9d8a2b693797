"""A dataset folder in memory: what a sweep may see, and the held-out data that it may not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.checksums import file_sha256
from cmir.data.label_checks import label_values
from cmir.data.manifest import (
    DEVELOPMENT_SPLITS,
    HELDOUT_SPLITS,
    SAMPLES_FILE,
    SPLITS,
    Manifest,
    read_manifest,
)
from cmir.data.modality import (
    Modality,
    array_hash,
    modality_names,
    open_array,
    open_modality,
    read_statistics,
)
from cmir.data.row_blocks import IntArray
from cmir.data.samples import (
    check_samples,
    digest_samples,
    infer_manifest,
    is_further_label,
    read_samples,
)
from cmir.data.task import Task
from cmir.errors import InputError

_NOT_ENVIRONMENTS = frozenset({"id", "split", "label", "raw_text", "text_bert"})


@dataclass(frozen=True, eq=False)
class SplitData:
    """One split: rows into the modality arrays, labels float32 as in `Task`, and the table."""

    name: str
    rows: IntArray
    labels: npt.NDArray[np.float32]
    samples: pl.DataFrame

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.rows)

    def named(self, column: str) -> npt.NDArray[np.str_]:
        """The values of a column as text `(n,)`, empty where a sample has none."""
        return self.samples[column].cast(str).fill_null("").to_numpy().astype(str)

    def first(self, count: int) -> SplitData:
        """Its first samples, all of them where there are fewer."""
        labels, samples = self.labels[:count], self.samples.head(count)
        return SplitData(self.name, self.rows[:count], labels, samples)


@dataclass(frozen=True, eq=False)
class DevelopmentData:
    """What training and selection may see. No field leads to a held-out label.

    `checksum` covers the rows of the three splits and the feature files; `url` is where the folder
    was brought from, empty where it lay here.
    """

    name: str
    task: Task
    modalities: Mapping[str, Modality]
    train: SplitData
    id_val: SplitData
    ood_val: SplitData
    checksum: str
    path: Path
    url: str = ""

    @property
    def found_at(self) -> str:
        """The URL that it was brought from, else its folder."""
        return self.url or str(self.path)

    @property
    def splits(self) -> dict[str, SplitData]:
        """The three splits by name."""
        return {"train": self.train, "id_val": self.id_val, "ood_val": self.ood_val}

    @property
    def environment_columns(self) -> tuple[str, ...]:
        """Metadata columns that group the train split: no gaps, at least two groups."""
        columns = self.train.samples.columns
        return tuple(name for name in columns if self.why_no_environment(name) is None)

    def why_no_environment(self, column: str) -> str | None:
        """Why a column does not group the train split; None where it does, or is not there."""
        samples = self.train.samples
        if column not in samples.columns:
            return None
        lengths = {f"{name}_length" for name in self.modalities}
        if column in _NOT_ENVIRONMENTS | lengths or is_further_label(column):
            return "it does not tell groups of samples apart"
        missing = samples[column].null_count()
        if missing:
            return f"{missing} of {samples.height} training samples have no {column}"
        if samples[column].n_unique() < 2:
            return "every training sample has the same"
        return None


@dataclass(frozen=True, eq=False)
class HeldoutData:
    """The held-out splits that exist, of `id_test` and `ood_test`. Read by promotion alone."""

    name: str
    task: Task
    modalities: Mapping[str, Modality]
    splits: Mapping[str, SplitData]
    checksum: str
    path: Path


@dataclass(frozen=True, eq=False)
class MultimodalDataset:
    """An opened dataset folder. `checksum` covers every sample and every feature file.

    `array_hashes` are the sha256 of the feature files, by modality; `url` is where the folder was
    brought from, empty where it lay here.
    """

    name: str
    task: Task
    modalities: Mapping[str, Modality]
    checksum: str
    path: Path
    manifest: Manifest
    array_hashes: Mapping[str, str]
    _samples: pl.DataFrame
    url: str = ""

    @property
    def metadata(self) -> pl.DataFrame:
        """The table of all samples without their labels."""
        further = [name for name in self._samples.columns if is_further_label(name)]
        return self._samples.drop("label", *further)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples of each split that exists."""
        counts = self._samples["split"].to_list()
        return {name: counts.count(name) for name in SPLITS if name in counts}

    @property
    def development_samples(self) -> pl.DataFrame:
        """The table of the samples that a sweep may see, labels and all."""
        return self._samples.filter(pl.col("split").is_in(DEVELOPMENT_SPLITS))

    def development(self) -> DevelopmentData:
        """The splits a sweep may see. Changing every held-out label changes nothing here."""
        splits = {name: self._split(name) for name in DEVELOPMENT_SPLITS}
        return DevelopmentData(
            name=self.name,
            task=self.task,
            modalities=self.modalities,
            checksum=_checksum(self.development_samples, self.array_hashes, self.task),
            path=self.path,
            url=self.url,
            **splits,
        )

    def heldout(self) -> HeldoutData:
        """The held-out splits. Whoever reads them must count the access."""
        present = set(self._samples["split"].to_list())
        return HeldoutData(
            name=self.name,
            task=self.task,
            modalities=self.modalities,
            splits={n: self._split(n) for n in HELDOUT_SPLITS if n in present},
            checksum=self.checksum,
            path=self.path,
        )

    def _split(self, name: str) -> SplitData:
        table = self._samples.filter(pl.col("split") == name)
        rows = np.flatnonzero(self._samples["split"].to_numpy() == name).astype(np.int64)
        return SplitData(name, rows, label_values(table["label"], self.task), table.drop("label"))

    def verify(self) -> None:
        """Read every feature file again and compare it with the hash that `dataset.json` records.

        Labels and texts need no such pass: the checksum covers their values as they were read.

        Raises:
            InputError: a file was changed after the dataset was prepared.
        """
        arrays = self.manifest.arrays or {}
        hashes = {f"{name}.npy": record.sha256 for name, record in arrays.items()}
        for name, recorded in (hashes | self.manifest.derived).items():
            file = self.path / name
            if file.exists() and file_sha256(file) != recorded:
                raise InputError(
                    f"{file}: must have the sha256 {recorded} that dataset.json records, but was "
                    "changed. Prepare the dataset again."
                )


def load_dataset(path: Path | str) -> MultimodalDataset:
    """Open a dataset folder; features are memory-mapped, not read into memory.

    A folder made by hand needs `samples.parquet` and one `<modality>.npy` for each modality. What
    it leaves out is found here: pooled vectors, statistics and hashes are computed; without
    `dataset.json` the task and the range of labels follow from the development labels.
    Features are scanned once for NaN and infinity.

    Raises:
        InputError: the folder is not a dataset that a sweep can use; the message says where
            and what to do.
    """
    folder = Path(path).resolve()
    manifest = read_manifest(folder)
    table = read_samples(folder)
    manifest = manifest or infer_manifest(table, str(folder / SAMPLES_FILE))
    names = modality_names(folder, manifest)
    arrays = {name: open_array(folder, name, manifest) for name in names}
    where = str(folder / SAMPLES_FILE)
    samples = check_samples(table, task=manifest.task, modalities=arrays, where=where)
    statistics = read_statistics(folder, arrays)
    modalities = {
        name: open_modality(folder, name, array, samples, statistics)
        for name, array in arrays.items()
    }
    hashes = {name: array_hash(folder, name, manifest) for name in arrays}
    return MultimodalDataset(
        name=manifest.name or folder.name,
        task=manifest.task,
        modalities=modalities,
        checksum=_checksum(samples, hashes, manifest.task),
        path=folder,
        manifest=manifest,
        array_hashes=hashes,
        _samples=samples,
    )


def _checksum(samples: pl.DataFrame, array_hashes: Mapping[str, str], task: Task) -> str:
    digest = hashlib.sha256(digest_samples(samples).encode())
    if task.is_named:
        # The table holds numbers of names, and intensities.
        digest.update(repr((task.names, task.threshold)).encode())
    for name in sorted(array_hashes):
        digest.update(f"\n{name} {array_hashes[name]}".encode())
    return digest.hexdigest()
