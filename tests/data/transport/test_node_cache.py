"""The cache of a host is filled once for all its processes, and with whole folders only."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cmir.data.transport.node_cache import check_room, discard, kept_folder, node_cache
from cmir.errors import PlaceError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CMIR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_cache_lies_where_the_environment_says(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert node_cache() == cache
    monkeypatch.delenv("CMIR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert node_cache() == cache / "cmir"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(cache))
    assert node_cache() == cache / ".cache" / "cmir"


def test_who_comes_second_waits_and_finds_what_the_first_has_brought(cache: Path) -> None:
    filled = []

    def fill(folder: Path) -> None:
        time.sleep(0.05)
        (folder / "a").write_text("content")
        filled.append(folder)

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: kept_folder("kind", "key", fill), range(6)))
    assert set(found) == {cache / "kind" / "key"}
    assert len(filled) == 1
    assert (found[0] / "a").read_text() == "content"
    discard(found[0])
    kept_folder("kind", "key", fill)
    assert len(filled) == 2


def test_a_folder_that_could_not_be_filled_is_not_there(cache: Path) -> None:
    left = cache / "kind" / "key.part"
    left.mkdir(parents=True)
    (left / "half").touch()

    def fill(folder: Path) -> None:
        assert list(folder.iterdir()) == []
        (folder / "a").touch()
        raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        kept_folder("kind", "key", fill)
    assert [path.name for path in (cache / "kind").iterdir()] == ["key.lock"]


def test_a_cache_without_room_says_so(cache: Path) -> None:
    told = r"the data takes 1000000\.00 GB, but .* GB are free. Make room, or set CMIR_CACHE"
    with pytest.raises(PlaceError, match=told):
        kept_folder("kind", "key", lambda folder: check_room(folder, 10**15))


def test_a_cache_that_cannot_be_written_says_so(cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(PlaceError, match=r"kind/key: data is kept here, but it cannot be written"):
        kept_folder("kind", "key", lambda folder: None)
