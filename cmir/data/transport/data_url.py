"""A data set at a URL (`s3://`, `gs://`, `file://`, ...): checked, listed, brought to this host.

The URL names a dataset folder. Who is to train opens a copy in the host's cache, made once for
what lies there now: names, sizes and marks such as the ETag. Credentials are the environment's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from fsspec.core import url_to_fs

from cmir.data.dataset import MultimodalDataset, load_dataset
from cmir.data.manifest import SAMPLES_FILE
from cmir.data.staging import is_part_of_a_dataset
from cmir.data.transport.development_part import PIECE, PartFile, PartListing, piece_starts
from cmir.data.transport.node_cache import check_room, kept_folder
from cmir.data.transport.part_arrival import SourceError
from cmir.errors import InputError, place_fault
from cmir.hidden_secrets import without_secrets

# What file systems call that which changes with the content, the surest first.
MARKS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "updated", "created")
ADVICE = "Credentials come from the environment, such as AWS_ACCESS_KEY_ID or AWS_PROFILE."


class NoSuchDataError(InputError):
    """Nothing lies at a URL."""


def is_url(place: str) -> bool:
    """Whether a place is a URL, and no path.

    Example:
        >>> is_url("s3://bucket/mosei"), is_url("data/mosei")
        (True, False)
    """
    return "://" in place


def opened_url(url: str, where: str) -> MultimodalDataset:
    """The data set at a URL; raises as `brought_folder` and `load_dataset` do."""
    return replace(load_dataset(brought_folder(url, where)), url=url)


def brought_folder(url: str, where: str) -> Path:
    """The folder of this host's cache with all that lies at a URL now, brought if need be.

    Args:
        url: of a dataset folder.
        where: what every message starts with.

    Raises:
        InputError: it holds a password, or cannot be read: no such folder, no permission, a
            package that is missing.
        PlaceError: the cache cannot take it.
    """
    check_url(url, where)
    with explained(url, where):
        system, root = url_to_fs(url)
        found = _listed(system, root)
    if SAMPLES_FILE not in found:
        raise InputError(
            f"{where}: {url} must be a dataset folder, which holds {SAMPLES_FILE}, but it does not."
        )
    marks = repr((url, sorted((name, _mark(info)) for name, info in found.items())))
    size = sum(int(info["size"]) for info in found.values())

    def fill(folder: Path) -> None:
        check_room(folder, size)
        with explained(url, where):
            for name, info in found.items():
                system.get_file(info["name"], str(folder / name))

    return kept_folder("urls", hashlib.sha256(marks.encode()).hexdigest()[:32], fill)


def check_url(url: str, where: str) -> None:
    """Raises InputError where a URL holds a secret: what it says is written down in many places."""
    if without_secrets(url) != url:
        raise InputError(
            f"{where}: must hold no password or token, but is {without_secrets(url)}. {ADVICE}"
        )


@dataclass(frozen=True)
class UrlSource:
    """The feature files of a part, cut out of the whole ones at a URL: the wanted rows alone.

    Attributes:
        url: of the whole dataset folder.
        listing: of the part.
    """

    url: str
    listing: PartListing

    @property
    def name(self) -> str:
        """What it is called."""
        return self.url

    def gives(self, file: PartFile) -> bool:
        """Whether a file is a cut of one that lies there."""
        return file.row > 0

    def pieces(self, file: PartFile) -> Iterator[bytes]:
        """The bytes of a file.

        Raises:
            SourceError: it cannot be read here.
        """
        yield file.head
        for start in piece_starts(file.size - len(file.head)):
            ranges = self._ranges(file, start, min(start + PIECE, file.size - len(file.head)))
            try:
                yield b"".join(self._read(file, ranges))
            except Exception as error:  # Each file system has its own, and its packages others.
                raise SourceError(without_secrets(_first_line(error))) from error

    def _ranges(self, file: PartFile, begin: int, end: int) -> list[tuple[int, int]]:
        """Where in the whole file the bytes of the cut lie, counted from its first row."""
        runs = np.array(self.listing.runs, np.int64) * file.row
        ends = np.cumsum(runs[:, 1] - runs[:, 0])
        found = []
        for number in range(int(np.searchsorted(ends, begin, "right")), len(runs)):
            first = int(ends[number] - (runs[number, 1] - runs[number, 0]))
            if first >= end:
                break
            shift = int(runs[number, 0]) - first + file.offset
            found.append((max(begin, first) + shift, min(end, int(ends[number])) + shift))
        return found

    def _read(self, file: PartFile, ranges: list[tuple[int, int]]) -> list[bytes]:
        system, root = url_to_fs(self.url)
        starts, ends = map(list, zip(*ranges, strict=True))
        paths = [f"{root.rstrip('/')}/{file.name}"] * len(ranges)
        read: list[bytes] = system.cat_ranges(paths, starts, ends, on_error="raise")
        return read


def _listed(system: fsspec.AbstractFileSystem, root: str) -> dict[str, Mapping[str, Any]]:
    """The files of a dataset folder, by name, with what the file system says of each."""
    system.invalidate_cache()
    named = {str(info["name"]).rpartition("/")[2]: info for info in system.ls(root, detail=True)}
    return {
        name: info
        for name, info in named.items()
        if info.get("type") == "file" and is_part_of_a_dataset(name)
    }


def _mark(info: Mapping[str, Any]) -> str:
    """What changes when a file does."""
    known = next((str(info[key]) for key in MARKS if info.get(key)), "")
    return f"{info['size']} {known}"


@contextmanager
def explained(url: str, where: str) -> Iterator[None]:
    """Says in one sentence why a URL cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise NoSuchDataError(
            f"{where}: there is no such bucket or folder as {url}. Mend the URL, or make it."
        ) from None
    except Exception as error:  # Each file system has its own, and its packages others.
        if place_fault(error):
            raise
        raise InputError(f"{where}: {_reason(url, error)}") from error


def _reason(url: str, error: Exception) -> str:
    told = without_secrets(_first_line(error))
    if isinstance(error, ImportError):
        return f"{url} needs a package that is not installed: {told}."
    if isinstance(error, PermissionError):
        return f"{url} must be readable, but access is denied: {told}. {ADVICE}"
    return f"{url} cannot be read or written: {told}. {ADVICE}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".")
