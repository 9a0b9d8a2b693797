"""A PostgreSQL of its own for a test: in a temporary folder, on a free loopback port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.model_server import free_port

USER = "cmir"
ACCOUNTS = ("postgres", "nobody")
START_SECONDS = 60.0
# A test's database need not survive the machine.
HASTE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def programs() -> Path:
    """The folder of `initdb` and `postgres`; skips where there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").is_file():
            return folder
    pytest.skip("needs PostgreSQL's programs: apt-get install postgresql")


@contextmanager
def postgres(*databases: str) -> Iterator[dict[str, str]]:
    """Starts a server with these databases; yields the address of each, and stops the server."""
    psycopg = pytest.importorskip("psycopg", reason="needs the extra: pip install psycopg[binary]")
    found, account = programs(), _account()
    # Not pytest's folder: the server's account could not enter it.
    with tempfile.TemporaryDirectory(prefix="cmir-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        if account:
            shutil.chown(folder, account["user"])
        made = [
            str(found / "initdb"),
            "-D",
            f"{name}/data",
            "-U",
            USER,
            "-A",
            "trust",
            "-E",
            "UTF8",
        ]
        made += ["--locale=C", "--no-sync", "--no-instructions"]
        subprocess.run(made, check=True, capture_output=True, cwd=folder, **account)
        settings = [f"-c{one}" for one in ("listen_addresses=127.0.0.1", *HASTE)]
        command = [str(found / "postgres"), "-D", f"{name}/data", "-p", str(port), "-k", name]
        command += settings
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **account)
        try:
            address = f"{USER}@127.0.0.1:{port}"
            with _connected(psycopg, f"postgresql://{address}/postgres", server) as connection:
                for database in databases:
                    connection.execute(f'CREATE DATABASE "{database}"')
            yield {one: f"postgresql+psycopg://{address}/{one}" for one in databases}
        finally:
            server.send_signal(signal.SIGINT)  # Ends sessions and itself at once.
            server.wait(30)


def _account() -> Mapping[str, Any]:
    """PostgreSQL does not run as root: then as an account without rights."""
    if os.geteuid() != 0:
        return {}
    for name in ACCOUNTS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.skip(f"PostgreSQL does not run as root, and there is none of {', '.join(ACCOUNTS)}")


def _connected(psycopg: Any, address: str, server: subprocess.Popen[Any]) -> Any:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return psycopg.connect(address, autocommit=True)
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
