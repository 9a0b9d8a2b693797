"""A sweep whose driver trains nothing itself, on another host with which it shares no file."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from benchmarks.support.timed import ROOT
from tests.support.separate_hosts import PORT, SeparateHost, separate_hosts
from tests.support.small_sweep import write_data, write_space

Pair = tuple[SeparateHost, SeparateHost]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A head without processors, and a worker that has a copy of its data."""
    site = tmp_path_factory.mktemp("site")
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as short,
        separate_hosts(site, Path(short)) as (head, worker),
    ):
        data = write_data(tmp_path_factory.mktemp("data") / "small")
        for host in (head, worker):
            shutil.copytree(data, host.seen("data", "small"))
        write_space(head.seen(), trials=3)
        head.ray("--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false")
        worker.ray(f"--address={head.address}:{PORT}", "--num-cpus=1")
        yield head, worker


def swept(head: SeparateHost, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "workflows" / "sweep.py"), "--space", "small.yaml"]
    return head.run(*command, *more, RAY_ADDRESS=f"{head.address}:{PORT}")


def weights(host: SeparateHost) -> list[str]:
    found = host.seen("mlruns", "studies").glob("*.weights/*.safetensors")
    return sorted(file.name for file in found)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_weights_come_back_to_the_driver_and_none_stay_on_the_worker(hosts: Pair) -> None:
    head, worker = hosts
    done = swept(head)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert weights(head) == [f"{number:05d}.safetensors" for number in range(3)]
    assert weights(worker) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_with_other_data_trains_nothing_and_the_last_one_ends_the_sweep(
    hosts: Pair,
) -> None:
    head, worker = hosts
    table = worker.seen("data", "small", "samples.parquet")
    frame = pl.read_parquet(table)
    frame.with_columns(pl.col("label").reverse()).write_parquet(table)
    done = swept(head, "--fresh")
    assert done.returncode == 2, done.stdout[-2000:] + done.stderr[-2000:]
    assert "no host is left that can train:\n  host-b (" in done.stderr
    assert "must be the driver's data" in done.stderr
    assert "finished" not in done.stdout
    frame.write_parquet(table)
    again = swept(head)
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-2000:]
