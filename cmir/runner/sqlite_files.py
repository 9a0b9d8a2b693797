"""Databases that are files of sqlite: made whole or not at all, and what is wrong with one."""

from __future__ import annotations

import fcntl
import os
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy.engine import make_url

from cmir.errors import InputError, PlaceError

# Seconds to wait while another process writes, as MLflow does.
PATIENCE = 20.0
MAGIC = b"SQLite format 3\0"
# What sqlite says to tell what an error is, by what stands in its message.
LOCKED, FULL = ("locked", "busy"), ("disk is full", "disk i/o error")
DAMAGED = ("malformed", "not a database", "disk image")


def sqlite_file(uri: str) -> Path | None:
    """The file of a database, None where it is none of sqlite.

    Example:
        >>> sqlite_file("sqlite:////runs/mlflow.db"), sqlite_file("http://127.0.0.1:5000")
        (PosixPath('/runs/mlflow.db'), None)
    """
    if not uri.startswith("sqlite"):
        return None
    name = make_url(uri).database
    return Path(name).resolve() if name and name != ":memory:" else None


def made_whole(file: Path, make: Callable[[Path], None]) -> None:
    """Makes a database under another name and gives it its own when it is whole.

    So a full disk or a kill leaves no half of one, and of two processes that begin together in a
    fresh folder one makes it and the other waits.

    Args:
        file: that shall be there; one that is there and not empty stays.
        make: is given the file to make.
    """
    draft = file.with_name(f"{file.name}.part")
    with _alone_in(file.parent):
        if file.exists() and file.stat().st_size:
            return
        _remove(draft)
        try:
            make(draft)
            draft.replace(file)
        finally:
            _remove(draft)


def check_whole(file: Path, version: str, valued: tuple[str, ...], what: str) -> None:
    """Refuses a database that its library would stumble over.

    Args:
        file: of sqlite.
        version: table that holds a row when all tables are made.
        valued: tables whose rows are worth keeping.
        what: the file holds, for a damaged one.

    Raises:
        InputError: it is cut off, damaged, locked, or was made half.
    """
    if _is_cut(file):
        raise InputError(damaged(file, "it is shorter than it says", what))
    try:
        with closing(opened(file)) as database:
            names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            is_made = not names or (version in names and _has_rows(database, version))
            is_empty = not any(_has_rows(database, name) for name in valued if name in names)
    except sqlite3.Error as error:
        raise InputError(fault_of(file, error, what)) from None
    if not is_made and is_empty:
        raise InputError(
            f"{file}: is half made, as a full disk or a kill leaves it, and holds nothing yet. "
            f"Move it away, then run the same command again: {_move(file, 'half')}"
        )


def opened(file: Path) -> sqlite3.Connection:
    """A connection to a database that is there: one that is gone is not made anew."""
    return sqlite3.connect(f"{file.as_uri()}?mode=rw", PATIENCE, uri=True)


def fault_of(file: Path, error: BaseException, what: str) -> str:
    """The sentence for what a database of sqlite answered; `what` it holds."""
    told = f"{error}".lower()
    if any(word in told for word in LOCKED):
        return (
            f"{file}: another program has locked it for longer than {PATIENCE:.0f} s. Close that "
            "program, then run the same command again: nothing is lost."
        )
    if any(word in told for word in FULL):
        return (
            f"{file}: cannot be written: the disk is full or fails. Make room or mend it, then "
            "run the same command again: nothing is lost."
        )
    if "readonly" in told or "unable to open" in told:
        return f"{file}: must be a file that you may write. Change its rights, or its folder's."
    if any(word in told for word in DAMAGED):
        return damaged(file, str(error).splitlines()[0], what)
    return ""


def damaged(file: Path, reason: str, what: str) -> str:
    """The sentence for a file that cannot be read any more."""
    return (
        f"{file}: is no whole database of sqlite: {reason}. Put back a copy of it. Without one, "
        f"move it away and run the same command again: {_move(file, 'damaged')} ({what})"
    )


def _move(file: Path, ending: str) -> str:
    return f"mv {shlex.quote(str(file))} {shlex.quote(f'{file}.{ending}')}"


def _is_cut(file: Path) -> bool:
    """Whether a file is shorter than the pages that its header counts."""
    with suppress(OSError), file.open("rb") as stream:
        header = stream.read(100)
        if len(header) < 100 or not header.startswith(MAGIC):
            return False
        size = int.from_bytes(header[16:18], "big")
        pages = int.from_bytes(header[28:32], "big")
        # Older libraries leave the count as it is; it holds where both counters agree.
        is_counted = header[24:28] == header[92:96]
        return is_counted and file.stat().st_size < pages * (65_536 if size == 1 else size)
    return False


def _has_rows(database: sqlite3.Connection, table: str) -> bool:
    return database.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone() is not None


def _remove(draft: Path) -> None:
    for ending in ("", "-journal", "-wal", "-shm"):
        draft.with_name(f"{draft.name}{ending}").unlink(missing_ok=True)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Waits until no other process makes a database in a folder; leaves no file of a lock there."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise PlaceError(f"{folder}: cannot be opened: {error.strerror}.") from None
    try:
        # Some network file systems lock no folders.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
