from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from optuna import create_study
from optuna.exceptions import StorageInternalError
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial

from cmir.errors import InputError, PlaceError
from cmir.runner.studies.storage import (
    journal_storage,
    release_left_lock,
    storage_at,
    storing,
)
from cmir.runner.studies.study import TrialStudy, open_study
from cmir.space.search_space import SearchSpace, checked_space
from cmir.space.space_file import parse_sweep
from cmir.space.space_source import SpaceSource
from tests.support import small_study
from tests.support.small_study import FACTS, finished
from tests.support.small_sweep import SMALL


def opened(folder: Path, **changes: Any) -> TrialStudy:
    return small_study.opened(journal_storage(folder / "s.journal"), **changes)


def test_start_points_are_asked_first(tmp_path: Path) -> None:
    asked = opened(tmp_path).ask()
    assert SMALL["start_from"][0].items() <= asked.config.flat().items()
    assert asked.config.environments.views == 2


def test_a_record_gives_its_configuration_with_other_seeds(tmp_path: Path) -> None:
    study = opened(tmp_path)
    record = study.tell(study.ask().number, finished(0.5))
    assert record.config.environments.view == "noise"
    assert record.trial(seeds=(7, 8)).seeds == (7, 8)


def test_an_ending_of_an_earlier_version_has_no_partition(tmp_path: Path) -> None:
    study = opened(tmp_path)
    number = study.ask().number
    values = finished(0.5).as_json()
    del values["partition"]
    old = Trial(study._study, study._open[number]._trial_id)
    old.set_user_attr("ending", json.dumps(values))
    study._study.tell(number, 0.5)
    found = opened(tmp_path).records()[0].ending
    assert (found.partition, found.curve) == ({}, finished(0.5).curve)


def test_a_sweep_that_is_older_than_a_key_was_run_by_its_default(tmp_path: Path) -> None:
    study = opened(tmp_path)._study
    question = dict(study.user_attrs["question"])
    del question["sampler"], question["data"]["synthetic"]["task"]
    study.set_user_attr("question", question)
    assert opened(tmp_path).counted == 0
    with pytest.raises(InputError, match="begun with another sampler"):
        opened(tmp_path, sampler="random")


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="cannot be written here"):
        journal_storage(blocked / "s.journal")


def test_a_random_sampler_does_not_look_at_the_scores(tmp_path: Path) -> None:
    def suggested(name: str, sampler: str, sign: float) -> list[Any]:
        study = opened(tmp_path / name, sampler=sampler)
        params = []
        for place in range(16):
            asked = study.ask()
            params.append(asked.config)
            study.tell(asked.number, finished(sign * place))
        return params

    assert suggested("a", "random", 1.0) == suggested("b", "random", -1.0)
    assert suggested("c", "tpe", 1.0) != suggested("d", "tpe", -1.0)


@pytest.mark.timeout(60)
def test_a_lock_that_a_killed_driver_left_does_not_hold_the_next_one_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    journal = Path("s.journal")
    space = checked_space(parse_sweep(SMALL, "s.yaml"), "s.yaml")
    open_study(journal_storage(journal), "s", SpaceSource(space), FACTS).ask()
    backend = JournalFileBackend(str(journal.resolve()))
    assert backend._lock.acquire()
    # Optuna frees a lock only where its link leads to the journal.
    assert Path("s.journal.lock").resolve() == journal.resolve()
    release_left_lock(journal)
    study = open_study(journal_storage(journal), "s", SpaceSource(space), FACTS)
    assert study.interrupted == 1


def test_a_database_that_does_not_answer_is_bad_input_without_its_password() -> None:
    with pytest.raises(InputError) as refusal:
        storage_at("postgresql+psycopg://me:secret@127.0.0.1:1/studies")
    told = str(refusal.value)
    assert told.startswith("--storage postgresql+psycopg://me:***@127.0.0.1:1/studies: cannot be")
    assert "secret" not in told
    assert "pip install 'cmir-sweep[postgres]'" in told


def test_a_database_that_goes_away_is_told_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "studies.db"
    storage = storage_at(f"sqlite:///{file}")
    create_study(storage=storage, study_name="s")
    file.write_bytes(b"this is no database" * 100)

    def read() -> None:
        with storing(f"sqlite:///{file}"):
            storage.get_all_studies()

    with pytest.raises(InputError, match=r"studies.db: is no whole database of .*not a data"):
        read()


def test_a_suggestion_that_is_no_configuration_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened(tmp_path)

    def refuse(*arguments: object) -> None:
        raise InputError("trial 0: contradiction")

    monkeypatch.setattr(SearchSpace, "trial", refuse)
    with pytest.raises(InputError, match="contradiction"):
        study.ask()
    monkeypatch.undo()
    again = opened(tmp_path)
    assert again.interrupted == 0
    assert again.ask().number == 1


def change(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(statement)


def test_a_database_that_cannot_be_read_is_told_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "s.db"
    url = f"sqlite:///{file}"
    small_study.opened(storage_at(url))
    assert [path.name for path in tmp_path.iterdir()] == ["s.db"]
    whole = file.read_bytes()
    change(file, "UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    with pytest.raises(InputError, match=r"made by another Optuna.*optuna storage upgrade --stor"):
        storage_at(url)
    change(file, "UPDATE alembic_version SET version_num = 'v99'")
    with pytest.raises(InputError, match=r"made by another Optuna.*Install that one"):
        storage_at(url)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"s\.db: is no whole database.*trials that were kept"):
        storage_at(url)


def test_a_database_that_was_made_half_is_told_with_the_command_that_moves_it(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    storage_at(url)
    change(tmp_path / "s.db", "DROP TABLE alembic_version")
    with pytest.raises(InputError, match=r"half made.*holds nothing yet.*mv "):
        storage_at(url)


def test_a_database_that_is_locked_while_a_sweep_runs_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    locked = StorageInternalError("an error")
    locked.__cause__ = sqlite3.OperationalError("database is locked")
    with pytest.raises(PlaceError, match="another program has locked it"), storing(url):
        raise locked
