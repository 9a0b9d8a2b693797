"""Where the study of a sweep is kept: a journal file, or any database that Optuna knows."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage

from cmir.errors import InputError, PlaceError
from cmir.hidden_secrets import without_secrets
from cmir.runner.studies.journal import OwnJournal, ReadJournal


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
    """
    if "://" not in url:
        return journal_storage(Path(url), alone)
    try:
        # A connection is tried before it is used again: the server may have been restarted.
        storage = RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except Exception as error:  # SQLAlchemy and its drivers raise what they like.
        told = without_secrets(f"{type(error).__name__}: {error}".splitlines()[0]).rstrip(".")
        raise InputError(
            f"--storage {without_secrets(url)}: cannot be opened: {told}.{_driver_of(url)}"
        ) from None
    weakref.finalize(storage, storage.engine.dispose)
    return storage


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
        told = without_secrets(f"{error.__cause__ or error}".splitlines()[0]).rstrip(".")
        raise PlaceError(
            f"--storage {without_secrets(url or 'journal')}: answers no longer: {told}. Trials "
            "that were told to it are kept, the others run again: start it, then run the same "
            "command again."
        ) from error
