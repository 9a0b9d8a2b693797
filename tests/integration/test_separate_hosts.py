"""A sweep whose driver trains nothing itself, on another host with which it shares no file."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks.support.separate_hosts import PORT, HostLab, HostsError, SeparateHost, host_lab
from benchmarks.support.timed import ROOT
from cmir.data.synthetic.generation import generate
from cmir.data.transport.development_part import PIECE
from tests.support.small_sweep import SMALL, write_space

Pair = tuple[SeparateHost, SeparateHost]
# Of a modality that is not trained on: more than one piece, as pieces travel.
LARGE = (600, 100)


@contextmanager
def made_or_skipped(site: Path, short: Path) -> Iterator[HostLab]:
    """Hosts, where this machine lets them be made."""
    try:
        with host_lab(site, short) as lab:
            yield lab
    except HostsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A head that has the data but no processors, and a worker."""
    site = tmp_path_factory.mktemp("site")
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as short,
        made_or_skipped(site, Path(short)) as lab,
    ):
        head, worker = lab.add("a"), lab.add("b")
        data = generate(
            tmp_path_factory.mktemp("data") / "small",
            modalities={"text": (6, 3), "vision": 5, "scene": LARGE},
            samples={"train": 64, "id_val": 24, "ood_val": 24, "id_test": 24, "ood_test": 24},
            speakers=3,
        )
        shutil.copytree(data, head.seen("data", "small"))
        fixed: dict[str, Any] = {"model.modalities": ["text", "vision"]}
        fixed |= {"environments.partition": "kmeans", "environments.groups": 2}
        write_space(head.seen(), trials=3, fixed=SMALL["fixed"] | fixed)
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
def test_data_goes_to_the_worker_and_weights_come_back(hosts: Pair) -> None:
    head, worker = hosts
    done = swept(head)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.count("the data was brought into") == 1
    assert weights(head) == [f"{number:05d}.safetensors" for number in range(3)]
    (folder,) = worker.cached("development").glob("*/")
    splits = pl.read_parquet(folder / "samples.parquet")["split"].unique()
    assert sorted(splits) == ["id_val", "ood_val", "train"]
    assert (folder / "scene.npy").stat().st_size > PIECE
    # Computed by the driver, and not a second time.
    kept = [path.read_bytes() for path in sorted(head.seen("mlruns", "partitions").iterdir())]
    assert len(kept) == 2
    assert [path.read_bytes() for path in sorted(worker.cached("partitions").iterdir())] == kept
    assert list(worker.seen().iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_that_cannot_get_the_data_trains_nothing_and_the_last_one_ends_the_sweep(
    hosts: Pair,
) -> None:
    head, worker = hosts
    cache = worker.cached()
    cache.rename(cache.with_name("away"))
    cache.write_text("no folder")
    done = swept(head, "--fresh")
    assert done.returncode == 2, done.stdout[-2000:] + done.stderr[-2000:]
    assert "no host is left that can train:\n  host-b (" in done.stderr
    assert "data is kept here, but it cannot be written" in done.stderr
    assert "finished" not in done.stdout
    cache.unlink()
    cache.with_name("away").rename(cache)
    again = swept(head)
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-2000:]
    assert "the data was brought into" not in again.stdout
