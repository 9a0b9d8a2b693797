"""The journal of a sweep: what a crash left is set aside, and no write is half done."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cmir.errors import InputError, PlaceError
from cmir.runner.studies.storage import journal_storage
from cmir.runner.studies.study import TrialStudy, records_of
from tests.support import small_study
from tests.support.small_study import finished

FINISHED = finished(0.5)


def opened(path: Path, **changes: Any) -> TrialStudy:
    return small_study.opened(journal_storage(path, alone=True), **changes)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Of a study of two finished trials and one in flight."""
    path = tmp_path / "s.journal"
    study = opened(path)
    for _ in range(2):
        study.tell(study.ask().number, FINISHED)
    study.ask()
    return path


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file can grow beyond this size inside the block, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "rest",
    [b'{"op_code":8,"trial', b"\0" * 3000, b"\0\0\n", b'{"op_code":8,"{"op_code":4}\n', b"7\n\n"],
)
def test_what_a_crash_left_behind_the_last_entry_is_set_aside(
    journal: Path, caplog: pytest.LogCaptureFixture, rest: bytes
) -> None:
    whole = journal.read_bytes()
    journal.write_bytes(whole + rest)
    with caplog.at_level(logging.WARNING):
        storage = journal_storage(journal, alone=True)
    assert journal.read_bytes() == whole
    assert journal.with_name("s.journal.torn").read_bytes() == rest
    assert [record.getMessage() for record in caplog.records] == [
        f"{journal}: the last entry was cut off and now lies in s.journal.torn; all entries "
        "before it are kept."
    ]
    assert len(records_of(storage, "s")) == 2


def test_a_journal_that_was_cut_off_anywhere_goes_on(journal: Path) -> None:
    whole = journal.read_bytes()
    for cut in (9, 70, len(whole) // 2):
        journal.write_bytes(whole[:-cut])
        study = opened(journal)
        while study.counted < 3:
            study.tell(study.ask().number, FINISHED)
        assert [record.outcome for record in opened(journal).records()] == ["finished"] * 3
    assert len(list(journal.parent.glob("s.journal.torn*"))) == 3


@pytest.mark.parametrize("alone", [False, True])
def test_a_broken_line_in_the_middle_is_told_and_left_alone(journal: Path, alone: bool) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4][:9] + lines[4][12:]
    journal.write_bytes(b"".join([*lines, b"half"]))
    with pytest.raises(InputError, match=r"s\.journal, line 5: must be an entry .* --fresh"):
        journal_storage(journal, alone)
    assert journal.read_bytes() == b"".join([*lines, b"half"])
    assert [file.name for file in journal.parent.iterdir()] == ["s.journal"]


def test_a_reader_changes_nothing_and_reads_what_is_whole(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes() + b"\0" * 50)
    before = (journal.read_bytes(), journal.stat().st_mtime_ns)
    assert len(records_of(journal_storage(journal), "s")) == 2
    assert (journal.read_bytes(), journal.stat().st_mtime_ns) == before
    assert [file.name for file in journal.parent.iterdir()] == ["s.journal"]


def test_a_write_that_fails_half_way_is_undone(journal: Path) -> None:
    study, whole = opened(journal), journal.read_bytes()
    asked = study.ask()
    with room_for(len(whole) + 30), pytest.raises(PlaceError, match=r"s\.journal: cannot be wri"):
        study.tell(asked.number, FINISHED)
    assert journal.read_bytes() == whole
    assert opened(journal).tell(opened(journal).ask().number, FINISHED).number == asked.number
    assert len(opened(journal).records()) == 3


def test_an_interrupt_within_a_write_leaves_no_half_entry(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, whole = opened(journal), journal.read_bytes()

    def interrupted(file: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study.tell(study.ask().number, FINISHED)
    monkeypatch.undo()
    assert journal.read_bytes() == whole
    study.tell(2, FINISHED)
    assert len(opened(journal).records()) == 3


TakeAway = Callable[[Path], None]


def deleted(journal: Path) -> None:
    journal.unlink()


def replaced(journal: Path) -> None:
    copy = journal.read_bytes()
    journal.unlink()
    journal.write_bytes(copy)


@pytest.mark.parametrize("take_away", [deleted, replaced])
def test_a_journal_that_is_taken_away_is_missed_and_kept(
    journal: Path, take_away: TakeAway
) -> None:
    study, whole = opened(journal), journal.read_bytes()
    asked = study.ask()
    take_away(journal)
    for _ in range(2):
        with pytest.raises(PlaceError, match=r"was deleted, replaced or changed.*journal\.kept"):
            study.tell(asked.number, FINISHED)
    kept = journal.with_name("s.journal.kept")
    assert kept.read_bytes() == whole
    kept.replace(journal)
    assert (opened(journal).interrupted, len(opened(journal).records())) == (1, 2)


def test_another_writer_is_noticed(journal: Path) -> None:
    study = opened(journal)
    study.ask()
    other = opened(journal)
    other.tell(other.ask().number, FINISHED)
    with pytest.raises(PlaceError, match="was deleted, replaced or changed"):
        study.ask()


def test_opening_a_study_that_is_whole_writes_nothing(journal: Path) -> None:
    before = (journal.read_bytes(), journal.stat().st_mtime_ns)
    opened(journal)
    assert (journal.read_bytes(), journal.stat().st_mtime_ns) == before


def test_no_entry_is_written_before_the_question_is_checked(journal: Path) -> None:
    before = journal.read_bytes()
    with pytest.raises(InputError, match="started with a different epochs"):
        opened(journal, epochs=9)
    assert journal.read_bytes() == before
