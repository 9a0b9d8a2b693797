"""The driver's data and partitions, handed to hosts that do not see its disk: in pieces, by Ray.

An actor on the driver's host reads them, a few megabytes at a time, for who asks. Neither it nor
Ray's object store ever holds a data set. The states of trials come and go in the same way.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cmir.data import DevelopmentData
from cmir.data.transport.data_url import UrlSource
from cmir.data.transport.development_part import (
    PIECE,
    Bytes,
    DevelopmentPart,
    PartFile,
    PartListing,
    piece_starts,
)
from cmir.data.transport.part_arrival import PartSource, SourceError
from cmir.errors import InputError, PlaceError
from cmir.method.environments.partition_cache import kept_file
from cmir.runner.checkpoints import SentStates

# Ray starts it again if it dies, and asks again what it had not answered.
TRIES = 3


class DataServer:
    """What runs on the driver's host; the data is opened when a host asks for it first."""

    def __init__(self, data: str, partitions: str, checkpoints: str) -> None:
        """Folders of the driver: its data set, its partitions, what trials go on from."""
        self._data, self._partitions = data, Path(partitions)
        self._states = SentStates(Path(checkpoints))
        self._opened: DevelopmentPart | None = None

    def listing(self) -> PartListing:
        """What the development part of the data consists of."""
        return self._part().listing

    def piece(self, name: str, start: int) -> Bytes:
        """A piece of a file of the part."""
        return self._part().read(name, start, PIECE)

    def partition(self, name: str) -> bytes | None:
        """A file of the partitions, about as large as the labels; None where it is not kept."""
        return kept_file(self._partitions, name)

    def take_state(self, name: str, start: int, piece: Bytes) -> None:
        """Takes a piece of a trial's state; asked twice, it is there once."""
        self._states.take(name, start, piece)

    def close_state(self, name: str) -> None:
        """A trial's state is whole."""
        self._states.close(name)

    def state(self, name: str, start: int) -> Bytes:
        """A piece of the state that a trial goes on from."""
        return self._states.read(name, start)

    def _part(self) -> DevelopmentPart:
        if self._opened is None:
            self._opened = DevelopmentPart(self._data)
        return self._opened


@dataclass(frozen=True)
class DataSource:
    """Where a host finds the driver's data.

    Attributes:
        server: by which Ray knows the driver's `DataServer`.
        url: where the driver has it from; empty where it lay on its disk.
    """

    server: str
    url: str = ""

    def listing(self) -> PartListing:
        """What there is to be brought; raises PlaceError where the driver does not answer."""
        found: PartListing = _asked(self.server, "listing")
        return found

    def sources(self, listing: PartListing) -> list[PartSource]:
        """Where its files come from: the URL first, which serves any number of hosts at a time."""
        own: list[PartSource] = [UrlSource(self.url, listing)] if self.url else []
        return [*own, DriverSource(self.server)]

    def partition(self, name: str) -> bytes | None:
        """What the driver keeps under this name; raises PlaceError likewise."""
        found: bytes | None = _asked(self.server, "partition", name)
        return found


@dataclass(frozen=True)
class DriverSource:
    """The files of a part from the driver's host: the next piece travels while one is written."""

    server: str
    name: str = "the driver"

    def gives(self, file: PartFile) -> bool:
        """It has them all."""
        return True

    def pieces(self, file: PartFile) -> Iterator[Bytes]:
        """The bytes of a file; raises SourceError where they do not come."""
        try:
            read: Any = ray.get_actor(self.server).piece
            ahead: list[Any] = []
            for start in piece_starts(file.size):
                ahead.append(read.remote(file.name, start))
                if len(ahead) > 1:
                    yield ray.get(ahead.pop(0))
            if ahead:
                yield ray.get(ahead.pop())
        except (RayError, ValueError) as error:
            raise SourceError(_told(error)) from error


@contextmanager
def data_served(
    address: str | None,
    data: DevelopmentData,
    partitions: Path,
    checkpoints: Path,
    server: type[DataServer] = DataServer,
) -> Iterator[DataSource | None]:
    """The driver's data for other hosts while the block runs; None on this machine alone.

    Args:
        address: of the cluster; None: there are no other hosts.
        data: of the driver.
        partitions: the folder where partitions are kept.
        checkpoints: the folder where the states of trials are kept.
        server: what hands them out.
    """
    if address is None:
        yield None
        return
    name = f"cmir-data-{uuid.uuid4().hex}"
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"name": name, "num_cpus": 0, "scheduling_strategy": here}
    again = {"max_restarts": TRIES, "max_task_retries": TRIES}
    folders = [str(folder.resolve()) for folder in (data.path, partitions, checkpoints)]
    # It lives as long as somebody here holds it.
    held = ray.remote(server).options(**options, **again).remote(*folders)
    yield DataSource(name, data.url)
    del held


def _asked(server: str, what: str, *about: str) -> Any:
    try:
        return ray.get(getattr(ray.get_actor(server), what).remote(*about))
    except (RayError, ValueError) as error:
        raise PlaceError(f"the driver does not hand out its data: {_told(error)}") from error


def _told(error: Exception) -> str:
    cause = getattr(error, "cause", None)
    told = str(cause if isinstance(cause, InputError) else error).strip()
    return (told.splitlines() or [type(error).__name__])[-1][:300]
