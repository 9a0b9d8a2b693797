"""One driver at a time has a study, also where two folders share its storage."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmir.errors import InputError
from cmir.runner.studies.storage import storage_at
from cmir.runner.studies.study_lock import study_lock
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
