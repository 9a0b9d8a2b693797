"""The weights of the best trials are found by a driver on another host."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from cmir.errors import InputError, PlaceError
from cmir.runner.paths import Paths
from cmir.runner.weights import WeightsKeeper
from cmir.runner.weights_mirror import WeightsMirror
from tests.support.small_records import record


@pytest.fixture(params=["a folder", "a file URL", "a store"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    kinds = {"a folder": str(tmp_path / "shared"), "a file URL": f"file://{tmp_path / 'shared'}"}
    return kinds.get(request.param, f"memory://bucket/{tmp_path.name}")


def kept(keeper: WeightsKeeper) -> list[tuple[int, bytes]]:
    return [(number, path.read_bytes()) for number, path in keeper.best()]


def test_a_driver_elsewhere_has_the_weights_of_the_best(tmp_path: Path, url: str) -> None:
    mirror, records = WeightsMirror(url, "s-1"), []
    keeper = WeightsKeeper(Paths(tmp_path / "here"), "s", 2, -1.0, (), mirror)
    for number, objective in enumerate((3.0, 2.0, 4.0, 1.0)):
        keeper.keep(number, objective, f"weights {number}".encode())
        records.append(record(number, objective))
        keeper.add(records[-1])
    best = [(3, b"weights 3"), (1, b"weights 1")]
    assert kept(keeper) == best
    there = Paths(tmp_path / "there")
    assert kept(WeightsKeeper(there, "s", 2, -1.0, records, WeightsMirror(url, "s-1"))) == best
    other = WeightsKeeper(Paths(tmp_path / "o"), "s", 2, -1.0, records, WeightsMirror(url, "s-2"))
    assert (kept(other), other.missing()) == ([], [3, 1])
    system, root = fsspec.core.url_to_fs(url)
    names = [name.rpartition("/")[2] for name in system.ls(f"{root}/s-1.weights", detail=False)]
    assert sorted(names) == ["00001.safetensors", "00003.safetensors"]


def test_weights_on_the_drivers_own_disk_are_copied_too(tmp_path: Path) -> None:
    paths, url = Paths(tmp_path / "here"), str(tmp_path / "shared")
    path = paths.weights_of("s", 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"w")
    WeightsKeeper(paths, "s", None, -1.0, (), WeightsMirror(url, "s-1")).keep(0, 1.0, b"")
    assert (tmp_path / "shared" / "s-1.weights" / "00000.safetensors").read_bytes() == b"w"


def test_where_nothing_can_be_kept_is_said_before_anything_trains(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^--artifacts: .*file/s cannot be read or written"):
        WeightsMirror(str(tmp_path / "file" / "s"), "s-1")
    with pytest.raises(InputError, match="--artifacts: must hold no password"):
        WeightsMirror("sftp://me:hidden@host/s", "s-1")


def test_a_place_that_goes_away_ends_the_sweep_and_not_the_trial(tmp_path: Path) -> None:
    mirror = WeightsMirror(str(tmp_path / "shared"), "s-1")
    (tmp_path / "shared" / "s-1.weights").rmdir()
    (tmp_path / "shared" / "s-1.weights").touch()
    keeper = WeightsKeeper(Paths(tmp_path / "here"), "s", 2, -1.0, (), mirror)
    with pytest.raises(PlaceError, match=r"--artifacts: .* run the same command again"):
        keeper.keep(0, 1.0, b"weights")
