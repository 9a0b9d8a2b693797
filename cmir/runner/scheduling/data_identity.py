"""Whether a host has the data that the driver has: compared by content before anything trains."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cmir.data import DevelopmentData, load_dataset
from cmir.errors import InputError, PlaceError

# Of a file: its name, bytes, time of its last change in nanoseconds, and inode.
FileStamp = tuple[str, int, int, int]


@dataclass(frozen=True)
class DataIdentity:
    """What the driver's data is known by.

    Attributes:
        folder: where it lies, on every host.
        content: what it is, as the driver has opened it, after it compared the feature files with
            their recorded hashes: the checksum, and what the labels mean.
        files: by which a worker knows that it sees the driver's own files, and need not read them
            all: on the same host, or on a shared disk.
    """

    folder: str
    content: str
    files: tuple[FileStamp, ...]

    @classmethod
    def of(cls, data: DevelopmentData) -> DataIdentity:
        """That of data which this process has opened and compared."""
        return cls(str(data.path.resolve()), _content(data), _stamps(data.path))


@lru_cache(maxsize=1)
def same_data(identity: DataIdentity) -> DevelopmentData:
    """The driver's data as it lies here, opened once per process.

    Opening reads labels and texts, but of features only the hashes that `dataset.json` records, so
    that a copy's feature files are read once and compared with these.

    Raises:
        PlaceError: there is none here, or other data under the same path.
    """
    try:
        dataset = load_dataset(identity.folder)
        data = dataset.development()
        _compare(_content(data), identity)
        if _stamps(data.path) != identity.files:
            dataset.verify()
    except InputError as error:
        raise PlaceError(
            f"the data was there when the command began, but cannot be read by the worker on "
            f"{platform.node()}: {error}"
        ) from error
    return data


def _compare(found: str, identity: DataIdentity) -> None:
    if found != identity.content:
        raise InputError(
            f"{identity.folder}: must be the driver's data, {identity.content}, but is {found}. "
            "Copy the driver's folder there."
        )


def _content(data: DevelopmentData) -> str:
    return f"{data.task}, checksum {data.checksum}"


def _stamps(folder: Path) -> tuple[FileStamp, ...]:
    found = [(file.name, file.stat()) for file in folder.iterdir() if file.is_file()]
    return tuple(sorted((name, s.st_size, s.st_mtime_ns, s.st_ino) for name, s in found))
