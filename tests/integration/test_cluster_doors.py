"""A cluster with a token: who has it joins by RAY_ADDRESS alone, who has not is told in a line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from benchmarks.support.model_server import free_port
from benchmarks.support.timed import ROOT
from cmir.errors import InputError
from cmir.process.cluster_address import check_address
from tests.support.small_sweep import write_data, write_space

COMMAND = ROOT / "workflows" / "sweep.py"


def home(folder: Path, token: str = "") -> Mapping[str, str]:
    """The environment of a user who has this token."""
    (folder / ".ray").mkdir(parents=True)
    if token:
        (folder / ".ray" / "auth_token").write_text(token)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "CMIR_"))}
    return {**kept, "HOME": str(folder), "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of one node whose user has a token, begun as the documentation says."""
    # Not pytest's folder: Ray's sockets lie below it.
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as name:
        found = f"127.0.0.1:{free_port()}"
        words = ["start", "--head", "--block", "--num-cpus=1", "--include-dashboard=false"]
        words += [f"--port={found.partition(':')[2]}", "--node-ip-address=127.0.0.1"]
        words += [f"--temp-dir={name}/r", f"--object-store-memory={80 << 20}"]
        ray = str(Path(sys.executable).with_name("ray"))
        environment = {**home(Path(name, "home"), "1" * 64), "RAY_worker_niceness": "0"}
        head = subprocess.Popen(
            [ray, *words],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_for(found)
            yield found
        finally:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()


def wait_for(address: str) -> None:
    for _ in range(120):
        try:
            check_address(address)
            return
        except InputError:
            time.sleep(0.5)
    pytest.fail(f"no cluster answers at {address} after a minute")


def swept(
    folder: Path, environment: Mapping[str, str], **more: str
) -> subprocess.CompletedProcess[str]:
    write_data(folder / "data" / "small")
    words = [sys.executable, str(COMMAND), "--space", str(write_space(folder, trials=2))]
    env = {**environment, **more}
    return subprocess.run(
        words, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=200
    )


@pytest.mark.slow
def test_who_has_the_token_joins_by_ray_address_alone(address: str, tmp_path: Path) -> None:
    done = swept(tmp_path, home(tmp_path / "home", "1" * 64), RAY_ADDRESS=address)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "1 trials at a time" in done.stdout
    assert "Unauthenticated" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("token", "mode", "message"),
    [
        ("", {}, "the cluster wants a token. Copy the file"),
        ("2" * 64, {}, "the cluster refuses the token found here. Copy the file"),
        ("1" * 64, {"RAY_AUTH_MODE": "disabled"}, "RAY_AUTH_MODE is disabled"),
        ("", {"RAY_AUTH_MODE": "token"}, "RAY_AUTH_MODE is token, but there is none here"),
    ],
)
def test_who_has_it_not_is_told_in_a_line(
    address: str, tmp_path: Path, token: str, mode: Mapping[str, str], message: str
) -> None:
    done = swept(tmp_path, home(tmp_path / "home", token), RAY_ADDRESS=address, **mode)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert message in done.stderr
