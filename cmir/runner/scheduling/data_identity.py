"""Whether a host has the data that the driver has: compared by content before anything trains.

A host that has none, or has other data under the same path, gets it from where the driver has it,
once, into a cache of its own.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from cmir.data import DevelopmentData, load_dataset
from cmir.data.transport.node_cache import check_room, discard, kept_folder
from cmir.data.transport.part_arrival import write_part
from cmir.errors import InputError, PlaceError
from cmir.runner.scheduling.data_server import DataSource

# Of a file: its name, bytes, time of its last change in nanoseconds, and inode.
FileStamp = tuple[str, int, int, int]


@dataclass(frozen=True)
class DataIdentity:
    """What the driver's data is known by.

    Attributes:
        folder: where it lies, on every host that sees it.
        content: what it is, as the driver has opened it, after it compared the feature files with
            their recorded hashes: the checksum, and what the labels mean.
        files: by which a worker knows that it sees the driver's own files, and need not read them
            all: on the same host, or on a shared disk.
        checksum: of the development data.
        source: where hosts without it find it; None where there are no others.
    """

    folder: str
    content: str
    files: tuple[FileStamp, ...]
    checksum: str = ""
    source: DataSource | None = field(default=None, compare=False)

    @classmethod
    def of(cls, data: DevelopmentData, source: DataSource | None = None) -> DataIdentity:
        """That of data which this process has opened and compared."""
        folder = str(data.path.resolve())
        return cls(folder, _content(data), _stamps(data.path), data.checksum, source)


@dataclass(eq=False)
class DataHere:
    """The driver's data on this host.

    Attributes:
        data: opened.
        notice: how it was brought here, in a sentence; empty where it was here.
    """

    data: DevelopmentData
    notice: str = ""

    def told_once(self) -> str:
        """The notice, which is empty from then on."""
        told, self.notice = self.notice, ""
        return told


def same_data(identity: DataIdentity) -> DevelopmentData:
    """The driver's data as it lies here, opened once per process; raises as `data_here` does."""
    return data_here(identity).data


@lru_cache(maxsize=1)
def data_here(identity: DataIdentity) -> DataHere:
    """The driver's data as it lies here or in this host's cache, brought if need be.

    Opening reads labels and texts, but of features only the hashes that `dataset.json` records, so
    that a copy's feature files are read once and compared with these.

    Raises:
        PlaceError: there is none here, or other data under the same path, and it cannot be brought.
    """
    try:
        return DataHere(_opened(identity.folder, identity))
    except InputError as error:
        if identity.source is None:
            raise PlaceError(
                f"the data was there when the command began, but cannot be read by the worker on "
                f"{platform.node()}: {error}"
            ) from error
        return _brought(identity, identity.source)


def _brought(identity: DataIdentity, source: DataSource) -> DataHere:
    """The data in this host's cache; what is damaged there is brought again."""
    folder, notice = _in_cache(identity, source)
    try:
        return DataHere(_opened(folder, identity), notice)
    except InputError:
        discard(folder)
    folder, notice = _in_cache(identity, source)
    try:
        return DataHere(_opened(folder, identity), notice)
    except InputError as error:
        raise PlaceError(str(error)) from error


def _in_cache(identity: DataIdentity, source: DataSource) -> tuple[Path, str]:
    """The folder of the cache, and how it was filled where this process did."""
    told: list[str] = []

    def fill(folder: Path) -> None:
        began, listing = time.monotonic(), source.listing()
        check_room(folder, listing.size)
        passed = write_part(listing, source.sources(listing), folder)
        took = f"{listing.size / 1e6:.0f} MB in {time.monotonic() - began:.1f} s"
        told.append(f"the data was brought into {folder.parent} ({took})")
        told.extend(f"not from {reason}" for reason in passed)

    folder = kept_folder("development", identity.checksum, fill)
    return folder, "; ".join(told)


def _opened(folder: Path | str, identity: DataIdentity) -> DevelopmentData:
    """The data of a folder; raises InputError where it is not the driver's."""
    dataset = load_dataset(folder)
    data = dataset.development()
    if _content(data) != identity.content:
        raise InputError(
            f"{folder}: must be the driver's data, {identity.content}, but is {_content(data)}. "
            "Copy the driver's folder there."
        )
    if _stamps(data.path) != identity.files:
        dataset.verify()
    return data


def _content(data: DevelopmentData) -> str:
    return f"{data.task}, checksum {data.checksum}"


def _stamps(folder: Path) -> tuple[FileStamp, ...]:
    found = [(file.name, file.stat()) for file in folder.iterdir() if file.is_file()]
    return tuple(sorted((name, s.st_size, s.st_mtime_ns, s.st_ino) for name, s in found))
