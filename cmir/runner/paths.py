"""Where a sweep keeps its files, and the lock that lets one driver at a time write them."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from cmir.data import MultimodalDataset, load_dataset
from cmir.data.transport.data_url import is_url, opened_url
from cmir.errors import InputError
from cmir.shared_files import sweep_lock, waiting_lock

CONTROL = re.compile(r".+-(plain|rival-\w+)-[0-9a-f]{6}(-\d+)?")


def control_name(space: str, fingerprint: str) -> str:
    """Name of the sweep that tunes the ERM baseline for an ablation, and of its space."""
    return f"{space}-plain-{fingerprint[:6]}"


def rival_name(space: str, rival: str, fingerprint: str) -> str:
    """Name of the sweep that tunes a rival, and of its space."""
    return f"{space}-rival-{rival}-{fingerprint[:6]}"


def is_control(sweep: str) -> bool:
    """Whether a sweep only tunes what others are compared with.

    Example:
        >>> is_control(control_name("mosi", "3fa9c2d41b70")), is_control("mosi-plain")
        (True, False)
        >>> is_control(rival_name("mosi", "erm", "3fa9c2d41b70"))
        True
    """
    return CONTROL.fullmatch(sweep) is not None


@dataclass(frozen=True)
class Paths:
    """The files of all sweeps below one folder, by default the one a command runs in.

    Attributes:
        root: the folder.
        artifacts: a URL or a shared folder where the weights of the best trials are kept as well,
            for a driver that goes on elsewhere; None: nowhere.
    """

    root: Path = Path()
    artifacts: str | None = None

    @property
    def studies(self) -> Path:
        """Folder of the records of all sweeps."""
        return self.root / "mlruns" / "studies"

    def journal(self, sweep: str) -> Path:
        """The Optuna journal: the single record of a sweep."""
        return self.studies / f"{sweep}.journal"

    def weights(self, sweep: str) -> Path:
        """Folder of the weights of a sweep's best trials so far."""
        return self.studies / f"{sweep}.weights"

    def weights_of(self, sweep: str, number: int) -> Path:
        """Weights `(seed, weights)` of one trial, as safetensors."""
        return self.weights(sweep) / f"{number:05d}.safetensors"

    def checkpoints(self, sweep: str) -> Path:
        """Folder of what long trials in training go on from, while a sweep runs or rests."""
        return self.studies / f"{sweep}.checkpoints"

    def driver(self, sweep: str) -> Path:
        """A file by which workers know the driver's disk, while a sweep runs."""
        return self.studies / f"{sweep}.driver"

    def scheduler(self, sweep: str) -> Path:
        """Ray's own files while a sweep runs."""
        return self.studies / f"{sweep}.ray"

    @property
    def partitions(self) -> Path:
        """Costly parts of partitions, shared by all sweeps and workers."""
        return self.root / "mlruns" / "partitions"

    @property
    def language(self) -> Path:
        """What frozen layers of language models make of texts, shared by all sweeps and workers."""
        return self.root / "mlruns" / "language"

    def synthetic(self, name: str) -> Path:
        """The data set that stands in for a missing one."""
        return self.root / "mlruns" / "synthetic" / name

    @property
    def heldout_ledger(self) -> Path:
        """One JSON line for each test-set access."""
        return self.root / "mlruns" / "heldout_ledger.jsonl"

    def ablation(self, name: str) -> Path:
        """Everything about an ablation: its arms, tables and pictures."""
        return self.studies / f"{name}.ablation"

    def sweeps(self) -> list[str]:
        """Names of the sweeps with a journal here, the latest written last.

        A name with a dot is a list of jobs, such as those of a promotion.
        """
        files = sorted(self.studies.glob("*.journal"), key=lambda file: file.stat().st_mtime)
        return [file.stem for file in files if "." not in file.stem]

    def recorded(self, place: str) -> str:
        """A path as it is written down: from the root on where it lies below, so that it moves.

        A URL stays as it is.
        """
        if is_url(place):
            return place
        whole, root = Path(place).resolve(), self.root.resolve()
        return str(whole.relative_to(root) if whole.is_relative_to(root) else whole)

    def found(self, recorded: str) -> Path:
        """The path that was written down.

        Older records hold whole paths: where nothing is there any more, it is looked for below the
        root, as in a folder that has moved. Whoever reads it checks that it is the same.
        """
        path = self.root / recorded
        if path.exists():
            return path
        parts = Path(recorded).parts
        moved = [self.root.joinpath(*parts[start:]) for start in range(1, len(parts))]
        return next((one for one in moved if one.exists()), path)

    def dataset(self, recorded: str) -> MultimodalDataset:
        """The data set that was written down; raises InputError where it cannot be opened."""
        if is_url(recorded):
            return opened_url(recorded, "the data set of the record")
        return load_dataset(self.found(recorded))

    def make(self) -> None:
        """Makes the folders.

        Raises:
            InputError: nothing can be written here.
        """
        try:
            self.studies.mkdir(parents=True, exist_ok=True)
            probe = self.studies / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"{self.studies}: sweeps are kept here, but it cannot be written: "
                f"{error.strerror}. Run the command in a folder you may write to."
            ) from None

    def waiting_lock(self, name: str) -> AbstractContextManager[None]:
        """Waits until no other process of this folder is inside; ends with the process."""
        return waiting_lock(self.studies.parent / f"{name}.lock")

    def lock(self, sweep: str) -> AbstractContextManager[None]:
        """Keeps other drivers away from a sweep; raises InputError where another has it."""
        return sweep_lock(self.studies / f"{sweep}.lock", sweep)
