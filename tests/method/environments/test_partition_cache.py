"""What is kept is used again, and never when it is not what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from cmir.errors import InputError
from cmir.method.environments.partition_cache import kept_file, recalled

KEY = {"array": "clusters", "count": 4}
VALUES = np.arange(6)


class Counted:
    """Returns an array and counts how often it was computed."""

    def __init__(self, values: np.ndarray = VALUES) -> None:
        self.values, self.calls = values, 0

    def __call__(self) -> np.ndarray:
        self.calls += 1
        return self.values


def the_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_what_was_computed_once_is_read_again(tmp_path: Path) -> None:
    first, second = Counted(), Counted(-VALUES)
    for compute in (first, second):
        found = recalled(tmp_path / "new" / "folder", KEY, compute)
        assert (found.tolist(), found.dtype) == (VALUES.tolist(), VALUES.dtype)
    assert (first.calls, second.calls) == (1, 0)


def test_another_key_is_another_array(tmp_path: Path) -> None:
    recalled(tmp_path, KEY, Counted())
    other = Counted(-VALUES)
    assert recalled(tmp_path, {**KEY, "count": 5}, other).tolist() == (-VALUES).tolist()
    assert other.calls == 1


def cut(content: bytes) -> bytes:
    return content[:-3]


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def empty(content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_file_is_computed_and_written_again(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    recalled(tmp_path, KEY, Counted())
    file = the_file(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again = Counted()
    assert recalled(tmp_path, KEY, again).tolist() == VALUES.tolist()
    assert again.calls == 1
    assert file.read_bytes() == whole


def test_the_file_of_another_key_is_not_trusted_under_this_name(tmp_path: Path) -> None:
    recalled(tmp_path / "here", KEY, Counted())
    recalled(tmp_path / "there", {**KEY, "count": 5}, Counted(-VALUES))
    foreign = the_file(tmp_path / "there").read_bytes()
    the_file(tmp_path / "here").write_bytes(foreign)
    assert recalled(tmp_path / "here", KEY, Counted()).tolist() == VALUES.tolist()


def test_several_may_fill_one_folder_at_once(tmp_path: Path) -> None:
    together = Barrier(6)

    def compute() -> np.ndarray:
        together.wait(timeout=10)
        return VALUES

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: recalled(tmp_path, KEY, compute).tolist(), range(6)))
    assert found == [VALUES.tolist()] * 6
    assert the_file(tmp_path).suffix == ".array"


def test_no_draft_is_left_behind(tmp_path: Path) -> None:
    recalled(tmp_path, KEY, Counted())
    assert the_file(tmp_path).suffix == ".array"


def test_without_a_folder_everything_is_computed() -> None:
    compute = Counted()
    for _ in range(2):
        recalled(None, KEY, compute)
    assert compute.calls == 2


def test_a_folder_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: partitions of the data are kept here.*cannot be"):
        recalled(tmp_path / "file", KEY, Counted())


def test_what_another_host_has_is_taken_from_there_to_the_bit(tmp_path: Path) -> None:
    recalled(tmp_path / "there", KEY, Counted())
    asked = []

    def ask(name: str) -> bytes | None:
        asked.append(name)
        return kept_file(tmp_path / "there", name)

    other = Counted(-VALUES)
    for _ in range(2):
        assert recalled(tmp_path / "here", KEY, other, ask).tolist() == VALUES.tolist()
    assert (other.calls, len(asked)) == (0, 1)
    assert recalled(tmp_path / "here", {**KEY, "count": 9}, other, ask).tolist() == (
        (-VALUES).tolist()
    )
    assert (other.calls, len(asked)) == (1, 2)


def test_a_file_that_came_damaged_is_not_used(tmp_path: Path) -> None:
    recalled(tmp_path / "there", KEY, Counted())
    (file,) = (tmp_path / "there").iterdir()
    content = file.read_bytes()[:-1] + b"x"
    assert recalled(tmp_path / "here", KEY, Counted(), lambda name: content).tolist() == (
        VALUES.tolist()
    )


def test_only_kept_files_are_handed_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("no array")
    (tmp_path / "kept").mkdir()
    assert kept_file(tmp_path / "kept", "../secret") is None
    assert kept_file(tmp_path / "kept", f"{'0' * 24}.array") is None
