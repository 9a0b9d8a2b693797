"""The development part of a data set arrives: each file from a source that gives it right.

A file is written piece by piece and hashed on the way: memory holds no more than two pieces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from cmir.data.transport.development_part import PartFile, PartListing
from cmir.errors import PlaceError


class SourceError(Exception):
    """A source does not give a file, and why."""


class PartSource(Protocol):
    """Where files of a part come from."""

    @property
    def name(self) -> str:
        """What it is called."""

    def gives(self, file: PartFile) -> bool:
        """Whether it may be asked for a file."""

    def pieces(self, file: PartFile) -> Iterator[Any]:
        """The bytes of a file, in order.

        Raises:
            SourceError: it cannot be read here.
        """


def write_part(listing: PartListing, sources: Sequence[PartSource], folder: Path) -> list[str]:
    """Writes all files of a part into an empty folder.

    Args:
        listing: what the files are.
        sources: asked in turn; what one of them does not give right is asked of the next.
        folder: to fill.

    Returns:
        why sources were passed over, a sentence each.

    Raises:
        PlaceError: no source has given a file as it is listed.
        OSError: the folder cannot be written.
    """
    passed: dict[str, str] = {}
    for file in listing.files:
        asked = [one for one in sources if one.gives(file) and one.name not in passed]
        if not any(_arrives(file, source, folder / file.name, passed) for source in asked):
            told = "; ".join(passed.values()) or "nobody has it"
            raise PlaceError(f"{folder / file.name}: cannot be brought here: {told}.")
    return list(passed.values())


def _arrives(file: PartFile, source: PartSource, path: Path, passed: dict[str, str]) -> bool:
    try:
        _write(file, source, path)
    except SourceError as error:
        passed[source.name] = f"{source.name}: {error}"
        return False
    return True


def _write(file: PartFile, source: PartSource, path: Path) -> None:
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for piece in source.pieces(file):
            stream.write(piece)
            digest.update(piece)
    if digest.hexdigest() != file.sha256:
        raise SourceError(
            f"{file.name} must have the sha256 {file.sha256}, but came with {digest.hexdigest()}"
        )
