"""Where the study of a sweep is kept: a journal file, or any database that Optuna knows."""

from __future__ import annotations

import shlex
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from sqlalchemy.exc import DatabaseError

from cmir.errors import InputError, PlaceError
from cmir.hidden_secrets import without_secrets
from cmir.runner.sqlite_files import PATIENCE, check_whole, fault_of, made_whole, sqlite_file
from cmir.runner.studies.journal import OwnJournal, ReadJournal

WHAT = "the trials that were kept in it are lost with it; MLflow still shows their runs"


def journal_storage(path: Path, alone: bool = False) -> BaseStorage:
    """A journal file as storage; its folder is made if need be.

    Args:
        path: of the file.
        alone: whether this process holds the lock of the sweep, under which nobody else writes:
            then it is mended and written as `OwnJournal` says. Else it is there to be read.

    Raises:
        InputError: there is a broken line in it.
        PlaceError: it cannot be made or opened here.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Absolute, because Optuna's lock is a link to this path from the folder of the journal: a
        # relative one leads nowhere, and waiting for a lock that was left behind never ends.
        whole = path.resolve()
        return JournalStorage(OwnJournal(whole) if alone else ReadJournal(whole))
    except OSError as error:
        raise PlaceError(
            f"{path}: the record of the sweep cannot be written here: {error.strerror}. "
            "Run in a folder you may write to, or give --storage."
        ) from None


def release_left_lock(path: Path) -> None:
    """Removes the lock of a journal whose writer was killed while it held it.

    Only for who holds the lock of the sweep, under which nobody else writes the journal.
    """
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


def storage_at(url: str, alone: bool = False) -> BaseStorage:
    """Any Optuna storage: an address such as `postgresql://...`, or a path of a journal file.

    `alone` is what `journal_storage` takes; a database has locks of its own.

    Raises:
        InputError: it cannot be opened, or is a file that is cut off, damaged, locked or half made.
    """
    if "://" not in url:
        return journal_storage(Path(url), alone)
    file = sqlite_file(url) if url.startswith("sqlite") else None
    try:
        if file is not None and file.parent.is_dir():
            made_whole(file, lambda draft: _database(f"sqlite:///{draft}").engine.dispose())
            check_whole(file, "alembic_version", ("studies",), WHAT)
        storage = _database(url)
    except InputError:
        raise
    except Exception as error:  # SQLAlchemy and its drivers raise what they like.
        raise InputError(_unopened(url, file, error)) from None
    weakref.finalize(storage, storage.engine.dispose)
    return storage


def _database(url: str, is_first: bool = True) -> RDBStorage:
    # A connection is tried before it is used again: the server may have been restarted.
    settings: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        settings["connect_args"] = {"timeout": PATIENCE}
    try:
        return RDBStorage(url, engine_kwargs=settings)
    except DatabaseError as error:
        # Another driver that began in the same moment made the tables.
        if is_first and any(word in str(error) for word in ("already exists", "duplicate key")):
            return _database(url, is_first=False)
        raise


def _unopened(url: str, file: Path | None, error: Exception) -> str:
    """The sentence for a database that cannot be opened, and what to do about it."""
    shown = without_secrets(url)
    told = fault_of(file, error, WHAT) if file else ""
    if told:
        return f"--storage: {told}"
    if "table schema" in str(error):
        upgrade = "upgrading" in str(error)
        remedy = f"Keep a copy, then run: optuna storage upgrade --storage {shlex.quote(shown)}"
        return (
            f"--storage {shown}: was made by another Optuna than the {optuna.__version__} here. "
            f"{remedy if upgrade else 'Install that one: pip install -U optuna'}"
        )
    line = without_secrets(f"{type(error).__name__}: {error}".splitlines()[0]).rstrip(".")
    return f"--storage {shown}: cannot be opened: {line}.{_driver_of(url)}"


def _driver_of(url: str) -> str:
    if not url.startswith("postgresql"):
        return ""
    return (
        " PostgreSQL must run, have the database, and needs the extra: "
        "pip install 'cmir-sweep[postgres]', then postgresql+psycopg://USER@HOST/DATABASE."
    )


@contextmanager
def storing(url: str | None) -> Iterator[None]:
    """Turns the going away of the study's database into an error that says what to do.

    Raises:
        PlaceError: the storage at `url` failed inside the block.
    """
    try:
        yield
    except StorageInternalError as error:
        file = sqlite_file(url or "")
        cause = error.__cause__ or error
        told = fault_of(file, cause, WHAT) if file else ""
        if told:
            raise PlaceError(f"--storage: {told}") from error
        line = without_secrets(f"{cause}".splitlines()[0]).rstrip(".")
        raise PlaceError(
            f"--storage {without_secrets(url or 'journal')}: answers no longer: {line}. Trials "
            "that were told to it are kept, the others run again: start it, then run the same "
            "command again."
        ) from error
