"""One driver at a time for a study, wherever drivers run: the lock lies where the study does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from cmir.errors import InputError
from cmir.runner.sqlite_files import sqlite_file
from cmir.shared_files import own_name, running_already, sweep_lock

# A lock of a session, which ends with its connection, however the driver ends.
TRY = {
    "postgresql": "SELECT pg_try_advisory_lock(:number)",
    "mysql": "SELECT GET_LOCK(:word, 0)",
}
HOLDER = (
    "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
    "WHERE locktype = 'advisory' AND granted AND objid = :low AND classid = :high "
    "AND objsubid = 1 AND datname = current_database()"
)
# PostgreSQL asks after a silent driver, so that one whose power was cut keeps no lock for hours.
SESSION = (
    "SELECT set_config('application_name', :told, false), "
    "set_config('tcp_keepalives_idle', '5', false), "
    "set_config('tcp_keepalives_interval', '5', false), "
    "set_config('tcp_keepalives_count', '2', false)"
)
# Of a study in MySQL, which does not tell who has a lock.
DRIVER = "driver"
Check = Callable[[], None]


@contextmanager
def study_lock(storage: BaseStorage, url: str | None, name: str) -> Iterator[Check]:
    """Keeps other drivers away from a study that several folders or machines can reach.

    Args:
        storage: of the study.
        url: its address; None where it is the journal of one folder, which has its own lock.
        name: of the study.

    Yields:
        what makes sure that the lock is held still, and takes it again where the database has been
        restarted; it raises InputError where another driver has come first.

    Raises:
        InputError: another driver has it.
    """
    if url is None:
        yield _nothing
    elif isinstance(storage, RDBStorage) and storage.engine.dialect.name in TRY:
        with closing(DatabaseLock(storage, name)) as lock:
            yield lock.check
    else:
        file = Path(url) if "://" not in url else sqlite_file(url)
        if file is None or not file.parent.is_dir():
            yield _nothing
            return
        with sweep_lock(file.with_name(f"{file.name}.{name}.lock"), name):
            yield _nothing


def note_driver(storage: BaseStorage, name: str) -> None:
    """Writes down who has a study, in a database that cannot tell it."""
    if isinstance(storage, RDBStorage) and storage.engine.dialect.name == "mysql":
        number = storage.get_study_id_from_name(name)
        storage.set_study_user_attr(number, DRIVER, own_name())


class DatabaseLock:
    """An advisory lock of a database, on a connection of its own."""

    def __init__(self, storage: RDBStorage, name: str) -> None:
        """Takes it; raises InputError where another driver has it."""
        self._storage, self._name = storage, name
        self._connection = self._taken()

    def check(self) -> None:
        """Takes it again where the connection broke; raises InputError as at first."""
        try:
            self._connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            self.close()
            # A database that does not answer at all is told by whatever is asked of it next.
            with suppress(SQLAlchemyError):
                self._connection = self._taken()

    def close(self) -> None:
        """Lets it go; of a broken connection SQLAlchemy leaves the driver's part open."""
        with suppress(SQLAlchemyError):
            self._connection.close()
        self._own.close()

    def _taken(self) -> Connection:
        engine: Engine = self._storage.engine
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        # Closed at the end, and not kept in the pool with its lock.
        connection.detach()
        self._own: Any = connection.connection.dbapi_connection
        holder = _take(connection, self._name)
        if holder is None:
            return connection
        connection.close()
        known = holder or _noted(self._storage, self._name)
        raise InputError(running_already(self._name, known or "on another machine"))


def _take(connection: Connection, name: str) -> str | None:
    """Takes the lock; else who has it, empty where the database does not tell."""
    digest = hashlib.sha256(f"cmir-sweep {name}".encode()).digest()
    number = int.from_bytes(digest[:8], "big", signed=True)
    dialect = connection.dialect.name
    is_postgres = dialect == "postgresql"
    if is_postgres:
        connection.execute(text(SESSION), {"told": own_name()[:63]})
    given = {"number": number} if is_postgres else {"word": digest.hex()[:60]}
    if connection.execute(text(TRY[dialect]), given).scalar():
        return None
    parts = {"high": int.from_bytes(digest[:4], "big"), "low": int.from_bytes(digest[4:8], "big")}
    return str(connection.execute(text(HOLDER), parts).scalar() or "") if is_postgres else ""


def _noted(storage: RDBStorage, name: str) -> str:
    with suppress(KeyError):
        number = storage.get_study_id_from_name(name)
        return str(storage.get_study_user_attrs(number).get(DRIVER, ""))
    return ""


def _nothing() -> None:
    """A lock of a file is held as long as the process runs."""
