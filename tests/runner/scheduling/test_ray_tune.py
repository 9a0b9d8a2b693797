"""Which trials Ray Tune is handed, and when it is told that there are no more. No Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from ray.tune.experiment import Trial as RayTrial

from cmir.errors import InputError
from cmir.runner.scheduling.hosts import Hosts, Place
from cmir.runner.scheduling.ray_tune import NoTable, Plan, Stopped, StudySearcher
from cmir.runner.scheduling.rungs import Rungs
from cmir.runner.scheduling.trials_in_flight import Progress, TrialsInFlight
from cmir.runner.scheduling.worker import WorkerReport
from cmir.runner.scheduling.worker_deaths import Death
from cmir.runner.studies.study import open_study
from cmir.space.search_space import checked_space
from cmir.space.space_file import EarlyStopping, parse_sweep
from cmir.space.space_source import SpaceSource
from tests.support.made_up_hosts import made_up_hosts
from tests.support.small_sweep import SMALL

OFF = EarlyStopping(enabled=False)
DONE: dict[str, Any] = {"outcome": "finished", "objective": 0.5, "metrics": {}}


def searching(budget: int, hosts: Hosts | None = None) -> tuple[StudySearcher, TrialsInFlight]:
    space = checked_space(parse_sweep(SMALL | {"trials": budget}, "s"), "s")
    study = open_study(InMemoryStorage(), "s", SpaceSource(space), {"data_checksum": "abc"})
    in_flight = TrialsInFlight(study, Rungs(3, OFF), Progress(), hosts or made_up_hosts(8))
    plan = Plan(budget, 3, OFF, lambda asked: {"number": asked.number}, Path("nowhere"))
    return StudySearcher(study, plan, in_flight), in_flight


def test_no_trial_beyond_the_budget_is_handed_out() -> None:
    searcher, in_flight = searching(2)
    assert searcher.suggest("a") == {"number": 0, "place": Place(1)}
    assert searcher.suggest("b") == {"number": 1, "place": Place(1)}
    assert searcher.suggest("c") is None
    for name in ("a", "b"):
        in_flight.take(name, WorkerReport(1, 0.5, {}, ending=DONE), 1.0)
        searcher.on_trial_complete(name)
    assert searcher.suggest("c") == "FINISHED"


def test_no_more_trials_are_handed_out_than_there_is_room_for() -> None:
    searcher, in_flight = searching(8, made_up_hosts(1, 2))
    assert [searcher.suggest(name) is None for name in "abcd"] == [False] * 3 + [True]
    in_flight.take("b", WorkerReport(1, 0.5, {}, ending=DONE), 1.0)
    assert searcher.suggest("d") is not None


def test_a_trial_whose_worker_died_is_asked_for_under_its_number() -> None:
    searcher, in_flight = searching(1)
    for name in "abcd":
        assert searcher.suggest(name) == {"number": 0, "place": Place(1)}
        in_flight.died(name, Death("h0"))
        searcher.on_trial_complete(name, error=True)
    assert searcher.suggest("e") == "FINISHED"


def test_a_fault_while_nothing_runs_ends_the_loop_at_once() -> None:
    searcher, in_flight = searching(1)
    in_flight.fault = InputError("planted")
    with pytest.raises(Stopped):
        searcher.suggest("a")


def test_a_trial_that_is_withdrawn_before_it_began_is_no_news(
    capfd: pytest.CaptureFixture[str],
) -> None:
    trial = RayTrial("CmirTrial", stub=True)
    NoTable().on_trial_complete(1, [trial], trial)
    assert capfd.readouterr().out == ""
