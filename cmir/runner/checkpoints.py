"""What trials that train long go on from: each one's last state, on the driver's disk.

A worker writes the state, and the driver, once it has heard of that, the way there: curve and times
up to that epoch. The way names the epoch whose state counts, so that the two belong together
whenever a driver is killed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmir.data.transport.development_part import PIECE, Bytes
from cmir.errors import place_error
from cmir.runner.studies.study import AskedTrial
from cmir.shared_files import written_whole


@dataclass(frozen=True)
class StatePlace:
    """Where a worker leaves the states of its trial, and finds the one to go on from.

    Attributes:
        folder: of the driver.
        number: of the trial.
        epoch: after which it goes on; 0: it begins.
    """

    folder: str
    number: int
    epoch: int = 0

    def file(self, epoch: int) -> Path:
        """The state after an epoch."""
        return Path(self.folder, f"{self.number:05d}.{epoch:05d}.state")


@dataclass(frozen=True)
class Way:
    """What the driver knows of a trial up to the epoch of its state; see `TrialInFlight`."""

    epoch: int
    curve: Mapping[str, Sequence[float]]
    times: Sequence[float]
    seconds: float
    partition: Mapping[str, Any]


class Checkpoints:
    """The last state of each trial in training, and the way there; the folder may not exist."""

    def __init__(self, folder: Path, origin: Mapping[str, str]) -> None:
        """`origin` names study, data and code: a state of another is not gone on from."""
        self._folder, self._origin = folder.resolve(), dict(origin)

    def place(self, asked: AskedTrial) -> StatePlace:
        """What a worker is told."""
        way = self.last(asked)
        return StatePlace(str(self._folder), asked.number, 0 if way is None else way.epoch)

    def last(self, asked: AskedTrial) -> Way | None:
        """How far a trial was when its last state was kept; None: it begins."""
        try:
            kept = json.loads(self._way(asked.number).read_text())
            way = Way(**kept["way"])
        except (OSError, ValueError, LookupError, TypeError):
            return None
        is_of_it = kept["of"] == self._of(asked)
        is_there = StatePlace(str(self._folder), asked.number).file(way.epoch).is_file()
        return way if is_of_it and is_there else None

    def note(self, asked: AskedTrial, way: Way) -> None:
        """Takes note of a state that was written; older ones of the trial go.

        Raises:
            PlaceError: the disk gave way.
        """
        path = self._way(asked.number)
        try:
            with written_whole(path) as draft:
                draft.write_text(json.dumps({"of": self._of(asked), "way": asdict(way)}))
        except OSError as error:
            raise place_error(path, error) from error
        kept = {path, StatePlace(str(self._folder), asked.number).file(way.epoch)}
        self._remove(set(self._folder.glob(f"{asked.number:05d}.*")) - kept)

    def forget(self, number: int) -> None:
        """A trial has ended, or shall begin anew."""
        self._remove(self._folder.glob(f"{number:05d}.*"))

    def keep_only(self, numbers: Collection[int]) -> None:
        """Forgets all trials but these; where none is left, the folder goes."""
        starts = {f"{number:05d}" for number in numbers}
        self._remove(one for one in self._folder.glob("*") if one.name[:5] not in starts)

    def _way(self, number: int) -> Path:
        return self._folder / f"{number:05d}.json"

    def _of(self, asked: AskedTrial) -> dict[str, str]:
        return {**self._origin, "configuration": asked.config.fingerprint}

    def _remove(self, files: Iterable[Path]) -> None:
        for file in files:
            file.unlink(missing_ok=True)
        with suppress(OSError):  # Others are in it, or it was never made.
            self._folder.rmdir()


class SentStates:
    """States that workers on other hosts send, and fetch, in pieces; each answer stands alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, name: str, start: int, piece: Bytes) -> None:
        """Writes a piece of a state; the file is a draft until it is closed."""
        draft = self._draft(name)
        draft.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.write(piece.tobytes())

    def close(self, name: str) -> None:
        """The state is whole."""
        self._draft(name).replace(self._file(name))

    def read(self, name: str, start: int) -> Bytes:
        """A piece of a state: shorter than others where it is the last."""
        with self._file(name).open("rb") as file:
            file.seek(start)
            return np.frombuffer(file.read(PIECE), np.uint8)

    def _file(self, name: str) -> Path:
        return self._folder / Path(name).name

    def _draft(self, name: str) -> Path:
        return self._file(name).with_suffix(".part")
