"""What trials go on from: the last state of each, and the way there, on the driver's disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cmir.config import trial_config
from cmir.data.transport.development_part import PIECE
from cmir.errors import PlaceError
from cmir.runner.checkpoints import Checkpoints, SentStates, Way
from cmir.runner.studies.study import AskedTrial

ORIGIN = {"study": "k", "code": "c"}
WAY = Way(2, {"objective": [0.1, 0.30000000000000004]}, [1.5, 3.0], 2.9, {"groups": 2})


def asked(number: int = 7, rate: float = 0.01) -> AskedTrial:
    return AskedTrial(number, trial_config({"training.learning_rate": rate}))


def kept(checkpoints: Checkpoints, trial: AskedTrial, epoch: int = 2) -> Path:
    """A state that a worker has written."""
    file = checkpoints.place(trial).file(epoch)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"state")
    return file


def test_a_trial_goes_on_from_its_last_state_also_by_another_driver(tmp_path: Path) -> None:
    folder, trial = tmp_path / "s.checkpoints", asked()
    checkpoints = Checkpoints(folder, ORIGIN)
    assert (checkpoints.last(trial), checkpoints.place(trial).epoch) == (None, 0)
    kept(checkpoints, trial)
    # The driver was killed before it heard of it.
    assert Checkpoints(folder, ORIGIN).last(trial) is None
    checkpoints.note(trial, WAY)
    later = Checkpoints(folder, ORIGIN)
    assert later.last(trial) == WAY
    assert later.place(trial).file(2).read_bytes() == b"state"


def test_only_the_last_state_stays(tmp_path: Path) -> None:
    checkpoints, trial = Checkpoints(tmp_path / "s", ORIGIN), asked()
    for epoch in (1, 2, 3):
        kept(checkpoints, trial, epoch)
        checkpoints.note(trial, Way(epoch, {}, [], 0.0, {}))
    kept(checkpoints, trial, 4)
    found = checkpoints.last(trial)
    assert found is not None
    assert found.epoch == 3
    assert sorted(file.name for file in (tmp_path / "s").iterdir()) == [
        "00007.00003.state",
        "00007.00004.state",
        "00007.json",
    ]


def test_what_another_study_code_or_configuration_has_left_is_not_gone_on_from(
    tmp_path: Path,
) -> None:
    checkpoints = Checkpoints(tmp_path / "s", ORIGIN)
    kept(checkpoints, asked())
    checkpoints.note(asked(), WAY)
    assert Checkpoints(tmp_path / "s", {**ORIGIN, "code": "d"}).last(asked()) is None
    assert checkpoints.last(asked(rate=0.02)) is None
    assert checkpoints.last(asked(8)) is None
    assert checkpoints.last(asked()) == WAY


@pytest.mark.parametrize("text", ["", "{", "[]", '{"way": {"epoch": 1}, "of": {}}', '{"way": 3}'])
def test_a_damaged_way_or_a_lost_state_is_none(tmp_path: Path, text: str) -> None:
    checkpoints, trial = Checkpoints(tmp_path / "s", ORIGIN), asked()
    file = kept(checkpoints, trial)
    checkpoints.note(trial, WAY)
    file.unlink()
    assert checkpoints.last(trial) is None
    kept(checkpoints, trial)
    (tmp_path / "s" / "00007.json").write_text(text)
    assert checkpoints.last(trial) is None


def test_who_has_ended_leaves_nothing_and_the_last_one_takes_the_folder_along(
    tmp_path: Path,
) -> None:
    checkpoints = Checkpoints(tmp_path / "s", ORIGIN)
    for number in (1, 2, 3):
        kept(checkpoints, asked(number))
        checkpoints.note(asked(number), WAY)
    checkpoints.forget(1)
    checkpoints.keep_only({3})
    assert {file.name[:5] for file in (tmp_path / "s").iterdir()} == {"00003"}
    checkpoints.keep_only(set())
    assert not (tmp_path / "s").exists()


def test_a_disk_that_gives_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("no folder")
    with pytest.raises(PlaceError, match="cannot be written"):
        Checkpoints(tmp_path / "s", ORIGIN).note(asked(), WAY)


def test_states_of_other_hosts_come_and_go_in_pieces_and_twice_is_once(tmp_path: Path) -> None:
    states, content = SentStates(tmp_path / "s"), os.urandom(2 * PIECE + 5)
    pieces = [content[start : start + PIECE] for start in range(0, len(content), PIECE)]
    for place, piece in enumerate(pieces):
        for _ in range(2):
            states.take("00001.00002.state", place * PIECE, np.frombuffer(piece, np.uint8))
    assert [file.suffix for file in (tmp_path / "s").iterdir()] == [".part"]
    states.close("00001.00002.state")
    read = [states.read("00001.00002.state", place * PIECE).tobytes() for place in range(3)]
    assert b"".join(read) == content
    states.take("../outside", 0, np.zeros(1, np.uint8))
    assert not (tmp_path / "outside.part").exists()
