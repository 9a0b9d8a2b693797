"""The state of a trial that trains long: written where the driver keeps it, and read from there.

A worker that does not see the driver's disk sends it in pieces to the actor that hands out the
data, so that neither Ray's object store nor the driver ever holds it whole.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
import ray
import torch

from cmir.data.transport.development_part import PIECE
from cmir.method.training.reports import State
from cmir.runner.checkpoints import StatePlace
from cmir.runner.driver_disk import DriverDisk
from cmir.runner.scheduling.data_server import DataSource
from cmir.shared_files import written_whole

# Of the time that a trial trains, what keeping its state may take.
SHARE = 0.05
# Seconds of an epoch from which on its state is kept. A trial that begins again waits some ten
# seconds for its host to be missed and for a process: a few shorter epochs are no loss beside it.
WORTH = 5.0


class Cadence:
    """After which epochs the state is kept: every k-th, k = ceil(cost / (.05 seconds of an epoch)).

    The cost is that of the last time; the first time shows it.
    """

    def __init__(self, last: int = 0) -> None:
        """`last` is the epoch that the trial goes on from."""
        self._last, self._cost = last, 0.0

    def every(self, seconds: float) -> int:
        """k, for epochs of so many seconds."""
        return max(1, math.ceil(self._cost / (SHARE * seconds)))

    def is_due(self, epoch: int, epochs: int, seconds: float) -> bool:
        """Whether the state is kept after an epoch.

        Args:
            epoch: that has ended, and took so many
            seconds: as measured.
            epochs: of the training: where fewer are left than k, it is not kept any more.
        """
        if seconds < WORTH:
            return False
        every = self.every(seconds)
        return epoch - self._last >= every and epochs - self._last > every

    def note(self, epoch: int, cost: float) -> None:
        """The state after an epoch was kept, which took `cost` seconds."""
        self._last, self._cost = epoch, cost


@dataclass(frozen=True)
class KeptState:
    """Where the states of a worker's trial are kept.

    Attributes:
        place: on the driver's disk.
        disk: by which a worker knows that it sees this disk.
        source: of the driver's data, which takes states as well; None where there are no others.
    """

    place: StatePlace
    disk: DriverDisk
    source: DataSource | None

    def write(self, epoch: int, state: State) -> None:
        """Keeps the state after an epoch, whole or not at all."""
        path = self.place.file(epoch)
        if self.disk.is_here():
            with written_whole(path) as draft:
                torch.save(state, draft)
        else:
            stream = _Sending(self._server(), path.name)
            torch.save(state, cast(IO[bytes], stream))
            stream.close()

    def read(self) -> State | None:
        """The state to go on from; None where the trial begins."""
        if not self.place.epoch:
            return None
        path = self.place.file(self.place.epoch)
        if self.disk.is_here():
            found: State = torch.load(path, "cpu", weights_only=True, mmap=True)
            return found
        with _fetched(self._server(), path.name) as file:
            found = torch.load(file, "cpu", weights_only=True)
            return found

    def _server(self) -> Any:
        if self.source is None:
            raise FileNotFoundError(f"{self.place.folder}: is not on this host")
        return ray.get_actor(self.source.server)


class _Sending:
    """A file that goes to the driver while it is written, from its beginning to its end."""

    def __init__(self, server: Any, name: str) -> None:
        self._server, self._name = server, name
        self._piece, self._start = bytearray(), 0
        self._on_its_way: list[Any] = []

    def write(self, part: bytes | memoryview) -> int:
        """Takes the next bytes; returns how many."""
        view = memoryview(part).cast("B")
        for place in range(0, len(view), PIECE):
            self._piece += view[place : place + PIECE]
            if len(self._piece) >= PIECE:
                self._send(self._piece[:PIECE])
                del self._piece[:PIECE]
        return len(view)

    def flush(self) -> None:
        """Nothing: what is not a piece yet waits for `close`."""

    def close(self) -> None:
        """Sends the rest; from then on the driver has the file."""
        self._send(self._piece)
        ray.get(self._on_its_way)
        ray.get(self._server.close_state.remote(self._name))

    def _send(self, piece: bytearray) -> None:
        """One piece travels while the next is gathered."""
        content = np.frombuffer(piece, np.uint8)
        sent = self._server.take_state.remote(self._name, self._start, content)
        self._start += len(piece)
        ray.get(self._on_its_way)
        self._on_its_way = [sent]


@contextmanager
def _fetched(server: Any, name: str) -> Iterator[IO[bytes]]:
    """A file of the driver, in one without a name here: it goes however the process ends."""
    with tempfile.TemporaryFile() as file:
        start, has_more = 0, True
        while has_more:
            piece = ray.get(server.state.remote(name, start))
            file.write(piece)
            start += len(piece)
            has_more = len(piece) == PIECE
        file.seek(0)
        yield file
