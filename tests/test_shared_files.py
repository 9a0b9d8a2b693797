"""Files that several processes share: no half of one is ever seen, and one driver has a sweep."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from cmir.errors import InputError
from cmir.shared_files import sweep_lock, written_whole


@pytest.mark.parametrize("by_several", [False, True])
def test_a_file_is_as_it_was_until_the_new_one_is_whole(tmp_path: Path, by_several: bool) -> None:
    path = tmp_path / "new folder" / "a.json"
    with written_whole(path, by_several=by_several) as draft:
        draft.write_text("one")
        assert not path.exists()
    with pytest.raises(UnicodeEncodeError), written_whole(path) as draft:
        draft.write_text("tw\ud800", encoding="utf-8")
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_who_has_a_sweep_is_told_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "s.lock"
    own = f"in process {os.getpid()} on {socket.gethostname()}"
    with sweep_lock(path, "s"):
        told = re.escape(f"the sweep 's' is running already, {own}. Wait for it")
        with pytest.raises(InputError, match=told), sweep_lock(path, "s"):
            pass
    path.write_text("in process 8 on another machine, which is gone")
    with sweep_lock(path, "s"):
        assert path.read_text() == own
