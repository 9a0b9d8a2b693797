"""One driver at a time for a study, wherever drivers run: the lock lies where the study does."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import Connection, text

from cmir.errors import InputError
from cmir.runner.sqlite_files import sqlite_file
from cmir.shared_files import running_already, sweep_lock

# A lock of a session, which ends with its connection, however the driver ends.
TRY = {
    "postgresql": "SELECT pg_try_advisory_lock(:number)",
    "mysql": "SELECT GET_LOCK(:word, 0)",
}
HOLDER = (
    "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
    "WHERE locktype = 'advisory' AND granted AND objid = :low AND classid = :high"
)


@contextmanager
def study_lock(storage: BaseStorage, url: str | None, name: str) -> Iterator[None]:
    """Keeps other drivers away from a study that several folders or machines can reach.

    Args:
        storage: of the study.
        url: its address; None where it is the journal of one folder, which has its own lock.
        name: of the study.

    Raises:
        InputError: another driver has it.
    """
    if url is None:
        yield
    elif isinstance(storage, RDBStorage) and storage.engine.dialect.name in TRY:
        free = storage.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with free as connection:
            # Closed at the end, and not kept in the pool with its lock.
            connection.detach()
            _take(connection, name)
            yield
    else:
        file = Path(url) if "://" not in url else sqlite_file(url)
        if file is None or not file.parent.is_dir():
            yield
            return
        with sweep_lock(file.with_name(f"{file.name}.{name}.lock"), name, _own()):
            yield


def _take(connection: Connection, name: str) -> None:
    digest = hashlib.sha256(f"cmir-sweep {name}".encode()).digest()
    number = int.from_bytes(digest[:8], "big", signed=True)
    dialect = connection.dialect.name
    is_postgres = dialect == "postgresql"
    if is_postgres:
        told = {"told": f"{_own()}"[:63]}
        connection.execute(text("SELECT set_config('application_name', :told, false)"), told)
    given = {"number": number} if is_postgres else {"word": digest.hex()[:60]}
    if connection.execute(text(TRY[dialect]), given).scalar():
        return
    parts = {"high": int.from_bytes(digest[:4], "big"), "low": int.from_bytes(digest[4:8], "big")}
    holder = connection.execute(text(HOLDER), parts).scalar() if is_postgres else None
    raise InputError(running_already(name, str(holder or "on another machine")))


def _own() -> str:
    return f"in process {os.getpid()} on {socket.gethostname()}"
