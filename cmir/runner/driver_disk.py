"""Whether a worker sees the driver's disk: then it writes there, else what it has made is sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cmir.errors import place_error
from cmir.shared_files import written_whole


@dataclass(frozen=True)
class DriverDisk:
    """A file of the driver, and what is in it as long as the driver runs."""

    path: str
    word: str

    def is_here(self) -> bool:
        """Whether this process sees it."""
        try:
            return Path(self.path).read_text() == self.word
        except OSError:
            return False


@contextmanager
def driver_disk(path: Path) -> Iterator[DriverDisk]:
    """Marks the driver's disk while the block runs.

    Raises:
        PlaceError: the file cannot be written.
    """
    word = uuid.uuid4().hex
    try:
        with written_whole(path) as draft:
            draft.write_text(word)
    except OSError as error:
        raise place_error(path, error) from error
    try:
        yield DriverDisk(str(path.resolve()), word)
    finally:
        path.unlink(missing_ok=True)
