"""The memory benchmark counts the pages of all processes of a sweep, each once."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from benchmarks import memory
from benchmarks.support.mosei_like import SIZES, STEPS, write_mosei_like
from benchmarks.support.sweep_memory import Held, Peak, memory_of, write_sweep
from benchmarks.support.timed import timed
from cmir.data import load_dataset
from cmir.runner.paths import Paths
from cmir.sweep.preparation import prepare_sweep

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

LARGE = 64 << 20


def test_the_peak_is_the_largest_sample() -> None:
    peak = Peak()
    peak.look([os.getpid()])
    before = sum(held.total for held in peak.largest)
    page = mmap.mmap(-1, LARGE)
    page.write(b"x" * LARGE)
    peak.look([os.getpid()])
    page.close()
    peak.look([os.getpid()])
    assert sum(held.total for held in peak.largest) - before > 0.9 * LARGE
    assert sum(held.processes for held in peak.largest) == 1


def test_a_process_that_ended_is_passed_over() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    peak = Peak()
    peak.look([child.pid, os.getpid()])
    assert sum(held.processes for held in peak.largest) == 1


def test_the_parts_of_a_process_are_its_whole() -> None:
    held = Held("driver").with_process(memory_of(os.getpid()))
    assert held.total == pytest.approx(held.anonymous + held.file + held.shared, abs=8192)
    assert held.processes == 1


def test_pages_of_a_file_count_once_however_many_processes_map_it(tmp_path: Path) -> None:
    place, peak = tmp_path / "pages", Peak()
    place.write_bytes(bytes(LARGE))
    child = (
        "import mmap, sys, time\n"
        "stream = open(sys.argv[1], 'rb')\n"
        "pages = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)\n"
        "sum(pages[::4096]); time.sleep(2)\n"
    )
    script = (
        "import subprocess, sys\n"
        f"command = [sys.executable, '-c', {child!r}, sys.argv[1]]\n"
        "children = [subprocess.Popen(command) for _ in range(3)]\n"
        "[one.wait() for one in children]\n"
    )
    timed([sys.executable, "-c", script, str(place)], tmp_path, look=peak.look)
    pages = sum(held.file for held in peak.largest)
    assert LARGE < pages < 2 * LARGE


def test_the_generated_data_have_the_shapes_of_mosei(tmp_path: Path) -> None:
    data = load_dataset(write_mosei_like(tmp_path / "data", 0.002))
    assert {name: m.array.shape[1:] for name, m in data.modalities.items()} == {
        name: (STEPS, size) for name, size in SIZES.items()
    }
    assert sum(data.sizes.values()) == 45


def test_the_generated_sweep_is_a_sweep(tmp_path: Path) -> None:
    data = write_mosei_like(tmp_path / "data", 0.02)
    prepared = prepare_sweep(write_sweep(tmp_path, data, 4, 3, 2), {}, Paths(tmp_path))
    assert (prepared.file.trials, prepared.file.seeds, prepared.file.epochs) == (4, 3, 2)


def test_the_table_ends_with_the_sum() -> None:
    row = {"processes": 2, "total": 6e6, "anonymous": 1e6, "file": 2e6, "shared": 3e6}
    lines = memory.sweep_lines([{"kind": "driver", **row}, {"kind": "workers", **row}])
    assert [line["processes"] for line in lines] == ["driver", "workers", "all"]
    assert lines[-1]["MB"] == 12.0
    assert lines[-1]["number"] == 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_second_worker_is_measured() -> None:
    found = memory.measure(0.002)
    assert found["disk"] > 45 * STEPS * sum(SIZES.values()) * 4
    assert 0 < found["added"] < found["resident"]
    assert found["share"] == found["added"] / found["disk"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_memory_of_a_sweep_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "memory.parquet"
    sizes = ["--scale", "0.01", "--trials", "2", "--seeds", "1", "--epochs", "1"]
    assert memory.main([*sizes, "--only", "sweep", "--out", str(out)]) == 0
    rows = pl.read_parquet(out)
    assert rows["kind"].to_list() == ["driver", "workers", "Ray's own"]
    assert rows["processes"][0] == 1
    assert rows["processes"][1] >= 2
    assert (rows["total"] > 0).all()
