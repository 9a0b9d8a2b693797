"""The journal file that a sweep is kept in: read by anyone, written by one process, safely."""

from __future__ import annotations

import json
import logging
import os
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from cmir.errors import InputError, PlaceError, place_error


class ReadJournal(JournalFileBackend):
    """Optuna's journal file, with a broken line told in one sentence."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """As Optuna: the entries from a number on; one that is being written is left out."""
        try:
            yield from super().read_logs(log_number_from)
        except ValueError:
            whole_length(self.path)
            raise


class OwnJournal(ReadJournal):
    """The journal of the only writer, the holder of the sweep's lock.

    What a crash, a full disk or a power cut left at the end is set aside before anything is
    written behind it, a write that fails is undone, and a file that is taken away is missed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._length = whole_length(path)
        self._file = os.open(path, os.O_RDWR | os.O_APPEND)
        weakref.finalize(self, os.close, self._file)
        self._taken: PlaceError | None = None
        if os.fstat(self._file).st_size > self._length:
            self._set_aside()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """As of any journal, if it is still the one that was opened."""
        self._check()
        yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes entries, all or none.

        Raises:
            PlaceError: they cannot be written, or the file is no longer the one that was opened.
        """
        self._check()
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        try:
            self._write(lines)
            # A suggested value is of no use before the configuration, which follows it.
            if not all("param_name" in log for log in logs):
                os.fsync(self._file)
        except BaseException as error:
            os.truncate(self._file, self._length)
            if isinstance(error, OSError):
                raise place_error(self.path, error) from error
            raise
        self._length += len(lines)

    def _write(self, lines: bytes) -> None:
        while lines:
            lines = lines[os.write(self._file, lines) :]

    def _set_aside(self) -> None:
        """Moves what is behind the last whole entry into a file beside the journal."""
        beside = _free(self.path, "torn")
        try:
            _copy(self._file, self._length, beside)
            os.truncate(self._file, self._length)
            os.fsync(self._file)
        except OSError as error:
            raise place_error(self.path, error) from error
        logging.getLogger(__name__).warning(
            "%s: the last entry was cut off and now lies in %s; all entries before it are kept.",
            self.path,
            beside.name,
        )

    def _check(self) -> None:
        if self._taken is None and not self._is_ours():
            self._taken = self._rescued()
        if self._taken is not None:
            raise self._taken

    def _is_ours(self) -> bool:
        own = os.fstat(self._file)
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        return os.path.samestat(own, found) and own.st_size == self._length

    def _rescued(self) -> PlaceError:
        """Keeps what the file held, as far as it can still be read; says what to do."""
        told = f"{self.path}: was deleted, replaced or changed while the sweep ran, which stops it"
        kept = _free(self.path, "kept")
        try:
            _copy(self._file, 0, kept)
        except OSError:
            return PlaceError(f"{told}. Put the file back, then run the same command again.")
        return PlaceError(
            f"{told}. What it held lies in {kept.name}: give it the name {self.path.name}, then "
            "run the same command again."
        )


def whole_length(path: Path) -> int:
    """Bytes of the whole entries of a journal, without what was cut off at the end.

    Raises:
        InputError: there are whole entries behind a broken one, which no crash leaves.
    """
    length, broken = 0, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not _is_entry(line):
                broken = broken or number
            elif broken:
                raise InputError(
                    f"{path}, line {broken}: must be an entry of Optuna's journal, JSON with "
                    "'op_code', but is none. The lines behind it are whole, so nothing was "
                    "changed: mend this line, put back an older copy of the file, or give --fresh "
                    "to begin a new sweep."
                )
            else:
                length += len(line)
    return length


def _is_entry(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and "op_code" in json.loads(line)
    except (ValueError, TypeError):
        return False


def _free(path: Path, ending: str) -> Path:
    """A name beside a file that no file has yet."""
    names = (path.with_name(f"{path.name}.{ending}{n or ''}") for n in range(10_000))
    return next(name for name in names if not name.exists())


def _copy(file: int, start: int, to: Path) -> None:
    """Copies an open file from a place on, and waits for the disk."""
    with open(os.dup(file), "rb") as source, to.open("xb") as copy:
        source.seek(start)
        shutil.copyfileobj(source, copy)
        copy.flush()
        os.fsync(copy.fileno())
