"""What is asked before Ray starts: short folders, files enough; and how nice its workers are."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import ray

from cmir.errors import InputError, PlaceError
from cmir.runner.scheduling import ray_session
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.ray_session import RayProcesses, ray_running


def test_a_long_folder_for_temporary_files_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert len(str(ray_session._short_folder())) < 32
    monkeypatch.setattr(ray_session, "SHORT_FOLDERS", ())
    with pytest.raises(InputError, match="Set RAY_TMPDIR to a short folder"):
        ray_session._short_folder()


def test_a_long_folder_that_was_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/" + "x" * 120)
    with pytest.raises(InputError, match=r"RAY_TMPDIR=/x+: must have at most 31 bytes"):
        ray_session._short_folder()


def test_a_server_of_ray_that_has_ended_is_missed(tmp_path: Path) -> None:
    program = tmp_path / "raylet"
    program.symlink_to("/bin/sleep")
    processes = RayProcesses()
    child = subprocess.Popen([program, "60"])
    try:
        while not processes._servers:
            processes.check()
    finally:
        child.kill()
    child.wait()
    with pytest.raises(PlaceError, match=rf"raylet \({child.pid}\) ended on its own"):
        processes.check()


def test_too_few_files_are_refused() -> None:
    program = (
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from cmir.runner.scheduling.ray_session import _raise_file_limit\n_raise_file_limit()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "the limit of open files is 64 here" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "more"), [(None, 0), ("3", 3)])
def test_workers_are_as_nice_as_the_driver_unless_asked(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, more: int
) -> None:
    monkeypatch.delenv("RAY_worker_niceness", raising=False)
    if asked is not None:
        monkeypatch.setenv("RAY_worker_niceness", asked)
    with ray_running(Placement(1)) as (hosts, _):
        assert hosts.resources.concurrency == 1
        found = ray.get(ray.remote(lambda: os.nice(0)).remote())
    assert found == min(19, os.nice(0) + more)
