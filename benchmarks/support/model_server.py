"""A server process on a free loopback port: started, waited for, ended with all its children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS = 240.0
GRACE_SECONDS = 20.0


class ServerError(RuntimeError):
    """A server ended or did not answer while it was waited for."""


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(
    command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Starts a command as the leader of a process group of its own; its output goes to `log`.

    MLflow calls the programs of its environment by name, so their folder comes first in PATH.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": path, **environment},
            start_new_session=True,
        )


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when `url` answers with 200.

    Raises:
        ServerError: the process ended, or did not answer within four minutes.
    """
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    state = "runs, but does not answer" if process.poll() is None else "ended"
    raise ServerError(f"{url}: the server {state}:\n{log.read_text(errors='replace')[-2000:]}")


def end(process: subprocess.Popen[bytes], how: int = signal.SIGTERM) -> None:
    """Ends a server and its process group, and waits for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    with suppress(ProcessLookupError):  # Children that outlived their leader.
        os.killpg(process.pid, signal.SIGKILL)


def start_tracking_server(
    store: str, artifacts: Path, port: int, log: Path
) -> subprocess.Popen[bytes]:
    """`mlflow server` over a database, through which files go too; returns when it answers."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--artifacts-destination", str(artifacts), "--serve-artifacts", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    process = start(command, log, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/health", process, log)
    except BaseException:
        end(process)
        raise
    return process


@contextmanager
def model_server(uri: str, log: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """`mlflow models serve` for a registered model; yields the address for requests."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", uri]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    process = start(command, log, environment)
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/ping", process, log)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        end(process)


def post(url: str, body: bytes, content_type: str = "application/json") -> tuple[int, str]:
    """Status and text of the answer to one request."""
    request = urllib.request.Request(url, body, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()
