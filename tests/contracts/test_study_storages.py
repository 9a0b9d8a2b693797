"""What every storage does for the study of a sweep: the journal, an sqlite file, PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage

from cmir.errors import InputError
from cmir.runner.studies.records import Ending, TrialRecord
from cmir.runner.studies.storage import storage_at
from cmir.runner.studies.study import TrialStudy, records_of, study_attributes
from tests.support.small_postgres import postgres
from tests.support.small_study import finished, kill_a_driver, opened

CURVE = {"objective": [3.0, 2.0]}
PARTITION = {"scheme": "random", "metrics": {"partition/p": 0.3}}
ENDINGS = [
    finished(0.5),
    Ending("pruned", 2.0, {"ood_val/mae": 2.0}, curve=CURVE, partition=PARTITION),
    Ending("diverged", reason="'prediction' became non-finite"),
    Ending("failed", reason="no memory"),
    finished(0.4),
]
DATABASES = (f"studies{number}" for number in count())

Open = Callable[..., TrialStudy]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL; the address of a database to begin with."""
    with postgres("postgres_of_studies") as addresses:
        yield addresses["postgres_of_studies"]


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty storage."""
    if request.param == "journal":
        return str(tmp_path / "s.journal")
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/studies.db"
    address = str(request.getfixturevalue("server"))
    name = next(DATABASES)
    execute(address, f"CREATE DATABASE {name}")
    return address.replace("postgres_of_studies", name)


def execute(address: str, statement: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(address.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
def reopened(url: str) -> Open:
    """Opens the study as a driver that starts does."""
    return lambda **changes: opened(storage_at(url, alone=True), **changes)


def shown(record: TrialRecord) -> dict[str, Any]:
    """All but the times, which no two sweeps share."""
    ending = record.ending
    return {
        "number": record.number,
        "params": dict(record.params),
        "config": record.config.flat(),
        "retry_of": record.retry_of,
        **ending.as_json(),
        "best_epochs": list(ending.best_epochs),
    }


def run(study: TrialStudy) -> list[TrialRecord]:
    return [study.tell(study.ask().number, ending) for ending in ENDINGS]


def test_the_same_trials_are_asked_and_kept_in_every_storage(url: str, reopened: Open) -> None:
    told = run(reopened())
    assert [shown(one) for one in told] == [shown(one) for one in run(opened(InMemoryStorage()))]
    assert told[4].retry_of == 3
    read = records_of(storage_at(url), "s")
    assert [shown(one) for one in read] == [shown(one) for one in told]
    assert [shown(one) for one in reopened().records()] == [shown(one) for one in told]
    assert [(one.started, one.ended) for one in read] == [(one.started, one.ended) for one in told]


def test_what_a_killed_driver_had_in_flight_is_asked_again(url: str, reopened: Open) -> None:
    kill_a_driver(url)
    study = reopened()
    assert (study.counted, study.interrupted) == (1, 2)
    before = opened(InMemoryStorage())
    before.tell(before.ask().number, finished(0.5))
    assert [study.ask(), study.ask()] == [before.ask(), before.ask()]
    assert (study.interrupted, study.in_flight) == (0, 2)
    study.tell(2, finished(0.3))
    study.tell(1, finished(0.2))
    assert [record.objective for record in reopened().records()] == [0.5, 0.2, 0.3]
    assert reopened().interrupted == 0


def test_a_failure_is_tried_again_after_a_restart(reopened: Open) -> None:
    first = reopened()
    asked = first.ask()
    first.tell(asked.number, Ending("failed", reason="no memory"))
    second = reopened()
    assert second.counted == 0
    again = second.ask()
    assert again.config == asked.config
    second.tell(again.number, Ending("failed", reason="no memory"))
    assert reopened().counted == 1


def test_another_question_is_refused_and_changes_nothing(url: str, reopened: Open) -> None:
    run(reopened())
    facts = {"data_checksum": "abc", "space_name": "other"}
    before = study_attributes(storage_at(url), "s")
    with pytest.raises(InputError, match=r"started with a different epochs.*--fresh"):
        reopened(epochs=9, facts=facts)
    with pytest.raises(InputError, match="a different data_checksum"):
        reopened(facts={"data_checksum": "other"})
    assert study_attributes(storage_at(url), "s") == before
    assert reopened(trials=99, facts=facts).counted == 4
    assert study_attributes(storage_at(url), "s") == before | facts


def test_a_continued_study_does_not_repeat_its_suggestions(reopened: Open) -> None:
    study = reopened(start_from=[])
    one = study.ask()
    study.tell(one.number, finished(1.0))
    assert reopened(start_from=[]).ask().config != one.config


def test_what_is_remembered_of_tracking_is_there_after_a_restart(reopened: Open) -> None:
    study = reopened()
    assert study.parent_runs == []
    study.remember_parent_run("abc")
    assert reopened().parent_runs == ["abc"]


def test_a_server_that_ended_the_sessions_costs_no_trial(server: str) -> None:
    name = next(DATABASES)
    execute(server, f"CREATE DATABASE {name}")
    study = opened(storage_at(server.replace("postgres_of_studies", name)))
    asked = study.ask()
    execute(
        server,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    study.tell(asked.number, finished(0.5))
    assert study.ask().number == 1


def test_a_driver_that_is_killed_again_and_again_draws_no_configuration_twice(
    reopened: Open,
) -> None:
    drawn: dict[int, str] = {}
    for start in range(1, 4):
        study = reopened(start_from=[])
        for _ in range(2 * start):
            asked = study.ask()
            config = asked.config.fingerprint
            assert drawn.setdefault(asked.number, config) == config
    assert len(drawn) == len(set(drawn.values())) == 6


def test_a_study_that_two_tracking_stores_log_knows_its_run_in_each(reopened: Open) -> None:
    for run in ("first", "second", "second", "first"):
        reopened().remember_parent_run(run)
        assert reopened().parent_runs[0] == run
    assert reopened().parent_runs == ["first", "second"]


def test_a_study_of_two_objectives_is_told_both_and_continued(url: str, reopened: Open) -> None:
    pair = ["ood_val/mae", "split/leak"]
    study = reopened(objective=pair)
    ending = finished(0.5)
    both = replace(ending, metrics={**ending.metrics, "split/leak": 0.25})
    study.tell(study.ask().number, both)
    study.tell(study.ask().number, Ending("pruned", 2.0, {"ood_val/mae": 2.0}, curve=CURVE))
    study.tell(study.ask().number, Ending("diverged", reason="not finite"))
    told = optuna.load_study(study_name="s", storage=storage_at(url)).trials
    assert [trial.values for trial in told] == [[0.5, 0.25], None, None]
    again = reopened(objective=pair)
    assert (again.counted, again.sign) == (3, -1.0)
    assert [record.objective for record in again.records()] == [0.5, 2.0, None]
    again.tell(again.ask().number, both)
    with pytest.raises(InputError, match=r"'s' was started with a different objective;.*--fresh"):
        reopened()
