"""One driver at a time has a study, also where two folders share its storage."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, text

from cmir.errors import InputError
from cmir.runner.studies.storage import storage_at
from cmir.runner.studies.study_lock import DatabaseLock, study_lock
from tests.support.small_postgres import postgres
from tests.support.small_study import ROOT

CODE = """
import sys
from cmir.runner.studies.storage import storage_at
from cmir.runner.studies.study_lock import study_lock
with study_lock(storage_at(sys.argv[1]), sys.argv[1], "s"):
    print("has it", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres("locks") as addresses:
        yield addresses["locks"]


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("server"))
    return {"journal": str(tmp_path / "j"), "sqlite": f"sqlite:///{tmp_path}/s.db"}[request.param]


@pytest.fixture
def driver(url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process, in another folder, that has the study."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CODE, url]
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        yield process
        process.kill()


def test_a_second_driver_is_told_who_has_the_study(url: str, driver: subprocess.Popen[str]) -> None:
    told = rf"'s' is running already, in process {driver.pid} on .*Ctrl-C: it loses nothing"
    with pytest.raises(InputError, match=told), study_lock(storage_at(url), url, "s"):
        pass


def test_another_study_of_the_same_storage_is_free(url: str, driver: subprocess.Popen[str]) -> None:
    with study_lock(storage_at(url), url, "other"):
        pass


def test_the_lock_of_a_driver_that_was_killed_is_free(
    url: str, driver: subprocess.Popen[str]
) -> None:
    driver.kill()
    driver.wait()
    for _ in range(50):
        try:
            with study_lock(storage_at(url), url, "s"):
                return
        except InputError:
            driver.poll()
    pytest.fail("the lock outlived its driver")


def test_a_lock_that_the_database_has_lost_is_taken_again_unless_another_came_first(
    server: str,
) -> None:
    with study_lock(storage_at(server), server, "s") as check:
        check()
        cut(server)
        check()
        told = rf"in process {os.getpid()} on "
        with pytest.raises(InputError, match=told), closing(database_lock(server)):
            pass
        cut(server)
        with (
            closing(database_lock(server)),
            pytest.raises(InputError, match="'s' is running already"),
        ):
            check()


def test_a_server_asks_after_a_silent_driver(server: str) -> None:
    with closing(database_lock(server)) as lock:
        shown = [text(f"SHOW tcp_keepalives_{name}") for name in ("idle", "interval", "count")]
        found = [lock._connection.execute(one).scalar() for one in shown]
    assert [str(value) for value in found] == ["5", "5", "2"]


def database_lock(server: str) -> DatabaseLock:
    storage = storage_at(server)
    assert isinstance(storage, RDBStorage)
    return DatabaseLock(storage, "s")


def cut(server: str) -> None:
    """Ends the connections that hold locks, as a restart of the database does."""
    end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"
    engine = create_engine(server)
    with engine.connect() as connection:
        assert connection.execute(text(end)).all() == [(True,)]
    engine.dispose()
