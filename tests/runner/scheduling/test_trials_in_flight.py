"""What the driver does with the reports of workers: curves, rungs, endings, retries. No Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage

from cmir.errors import PlaceError
from cmir.process.interruption import THIS
from cmir.runner.checkpoints import Checkpoints
from cmir.runner.scheduling.hosts import Hosts
from cmir.runner.scheduling.rungs import Rungs
from cmir.runner.scheduling.trials_in_flight import Progress, TrialsInFlight
from cmir.runner.scheduling.worker import WorkerReport
from cmir.runner.scheduling.worker_deaths import Death
from cmir.runner.studies.records import TrialRecord
from cmir.runner.studies.study import AskedTrial, TrialStudy, open_study
from cmir.space.search_space import checked_space
from cmir.space.space_file import EarlyStopping, parse_sweep
from cmir.space.space_source import SpaceSource
from tests.support.made_up_hosts import made_up_hosts
from tests.support.small_sweep import SMALL

HALVING = EarlyStopping(grace=2, reduction=2.0)
OFF = EarlyStopping(enabled=False)


def opened(storage: InMemoryStorage | None = None) -> TrialStudy:
    space = checked_space(parse_sweep(SMALL | {"trials": 8, "start_from": []}, "s"), "s")
    return open_study(
        storage or InMemoryStorage(), "s", SpaceSource(space), {"data_checksum": "abc"}
    )


def started(
    study: TrialStudy,
    count: int,
    settings: EarlyStopping = OFF,
    ends: list[TrialRecord] | None = None,
    told: list[str] | None = None,
    hosts: Hosts | None = None,
    checkpoints: Checkpoints | None = None,
) -> TrialsInFlight:
    """Trials under the names `0`, `1`, ... as Ray would name them."""
    lines = [] if told is None else told
    progress = Progress(
        on_end=([] if ends is None else ends).append,
        on_again=lambda number, why: lines.append(f"{number} again: {why}"),
        on_resume=lambda number, epoch: lines.append(f"{number} after {epoch}"),
        on_notice=lines.append,
    )
    rungs = Rungs(8, settings)
    in_flight = TrialsInFlight(
        study, rungs, progress, hosts or made_up_hosts(8), checkpoints=checkpoints
    )
    for name in range(count):
        in_flight.start(str(name), study.ask())
    return in_flight


GOES_ON: Mapping[str, Any] = {}


def report(epoch: int, objective: float, ending: Mapping[str, Any] = GOES_ON) -> WorkerReport:
    metrics = {"ood_val/mae": objective, "ood_val/mae_std": 0.1}
    return WorkerReport(epoch, objective, metrics, ending=ending)


def last(epoch: int, objective: float) -> WorkerReport:
    metrics = {"ood_val/mae": objective}
    ending = {"outcome": "finished", "objective": objective, "metrics": metrics}
    return report(epoch, objective, ending)


def test_each_trial_has_its_own_curve_seconds_and_ending() -> None:
    study, ends = opened(), list[TrialRecord]()
    in_flight = started(study, 2, ends=ends)
    assert not in_flight.take("0", report(1, 0.5), 1.0)
    assert not in_flight.take("1", report(1, 0.7), 2.0)
    assert not in_flight.take("0", last(2, 0.4), 1.5)
    assert [record.number for record in ends] == [0]
    in_flight.take("1", last(2, 0.3), 1.0)
    first, second = study.records()
    assert first.ending.curve == {"objective": [0.5, 0.4], "ood_val/mae": [0.5, 0.4]}
    assert second.ending.curve["objective"] == [0.7, 0.3]
    assert (first.ending.seconds, second.ending.seconds) == (2.5, 3.0)
    assert (len(in_flight), study.in_flight) == (0, 0)


def test_who_lags_at_a_rung_is_pruned_with_its_last_values() -> None:
    study = opened()
    in_flight = started(study, 3, HALVING)
    assert [in_flight.take(str(n), report(1, 0.1 * n), 1.0) for n in range(3)] == [False] * 3
    lagging = [in_flight.take(str(n), report(2, v), 1.0) for n, v in enumerate((0.5, 0.9, 0.6))]
    assert lagging == [False, True, False]
    pruned = study.records()
    assert [(r.number, r.outcome, r.objective) for r in pruned] == [(1, "pruned", 0.9)]
    assert pruned[0].ending.metrics == {"ood_val/mae": 0.9, "ood_val/mae_std": 0.1}
    # A report that comes after all, as when Ray closes what was stopped, counts no more.
    assert not in_flight.take("1", report(3, 0.1), 1.0)
    assert len(study.records()) == 1


def test_a_continued_sweep_judges_by_the_trials_of_its_earlier_starts() -> None:
    storage = InMemoryStorage()
    in_flight = started(opened(storage), 2, HALVING)
    for name in ("0", "1"):
        for epoch in (1, 2):
            assert not in_flight.take(name, report(epoch, 0.5), 1.0)
        in_flight.take(name, last(3, 0.5), 1.0)
    later = started(opened(storage), 2, HALVING)
    assert later.take("0", report(2, 0.6), 1.0)
    assert not later.take("1", report(2, 0.4), 1.0)


def test_who_has_finished_counts_at_its_rung_and_is_not_stopped() -> None:
    study = opened()
    in_flight = started(study, 3, HALVING)
    in_flight.take("0", report(2, 0.5), 1.0)
    assert not in_flight.take("1", last(2, 0.9), 1.0)
    assert study.records()[0].outcome == "finished"
    assert in_flight.take("2", report(2, 0.8), 1.0)


def test_a_diverged_trial_has_no_objective_and_keeps_its_reason() -> None:
    study = opened()
    fault = WorkerReport(ending={"outcome": "diverged", "reason": "non-finite in epoch 1"})
    started(study, 1).take("0", fault, 1.0)
    (record,) = study.records()
    assert (record.outcome, record.objective) == ("diverged", None)
    assert record.ending.reason == "non-finite in epoch 1"


def test_a_trial_whose_worker_died_begins_anew_under_its_number_as_if_it_had_not() -> None:
    study, told = opened(), list[str]()
    in_flight = started(study, 3, HALVING, told=told)
    in_flight.take("0", report(2, 0.5), 1.0)
    assert in_flight.take("1", report(2, 0.9), 1.0)
    in_flight.died("0", Death("h0"))
    in_flight.died("2", Death("lost"))
    assert [line.split(" (")[0] for line in told] == [
        "0 again: its worker process died",
        "2 again: its host, unknown, went away",
    ]
    assert (study.in_flight, study.counted) == (0, 1)
    again = [study.ask() for _ in range(2)]
    assert [asked.number for asked in again] == [0, 2]
    in_flight.start("again", again[0])
    # What it entered at the rung before is gone: it is alone with trial 1 there, and not last.
    assert not in_flight.take("again", report(1, 0.5), 1.0)
    assert not in_flight.take("again", report(2, 0.5), 1.0)
    in_flight.take("again", last(3, 0.5), 1.0)
    assert study.records()[0].ending.curve["objective"] == [0.5, 0.5, 0.5]


def test_a_trial_that_loses_its_process_again_and_again_has_failed_for_good() -> None:
    study, ends = opened(), list[TrialRecord]()
    in_flight = started(study, 1, ends=ends)
    for _ in range(3):
        in_flight.died("0", Death("h0"))
        assert (ends, study.counted) == ([], 0)
        in_flight.start("0", study.ask())
    in_flight.died("0", Death("h0"))
    assert [(one.number, one.outcome, one.ending.is_final) for one in ends] == [(0, "failed", True)]
    assert (study.counted, study.in_flight, study.ask().number) == (1, 0, 1)


def test_a_trial_that_was_interrupted_stays_in_flight() -> None:
    study = opened()
    in_flight = started(study, 1)
    in_flight.take("0", report(1, 0.6), 1.0)
    in_flight.close("0")
    assert (study.records(), study.in_flight, len(in_flight)) == ([], 1, 0)


def kept(checkpoints: Checkpoints, asked: AskedTrial, epoch: int, objective: float) -> WorkerReport:
    """The report of a worker that has written the state after an epoch."""
    file = checkpoints.place(asked).file(epoch)
    file.parent.mkdir(exist_ok=True)
    file.touch()
    return replace(report(epoch, objective), is_kept=True)


def test_a_trial_that_lost_its_host_goes_on_and_no_epoch_counts_twice(tmp_path: Path) -> None:
    study, told, ends = opened(), list[str](), list[TrialRecord]()
    checkpoints = Checkpoints(tmp_path / "s", {})
    in_flight = started(study, 3, HALVING, ends, told, checkpoints=checkpoints)
    asked = in_flight._trials["0"].asked
    in_flight.take("0", report(1, 0.9), 2.0)
    assert not in_flight.take("0", kept(checkpoints, asked, 2, 0.5), 2.0)
    in_flight.take("0", report(3, 0.45), 2.0)
    in_flight.died("0", Death("lost"))
    assert study.ask().number == 0
    in_flight.start("waits", asked)
    # It was given back before it began, and is asked for once more.
    in_flight.give_back("waits")
    assert in_flight._rungs._rungs[2] == []
    in_flight.start("again", study.ask())
    assert told == ["0 again: its host, unknown, went away", "0 after 2", "0 after 2"]
    # Its score at the rung counts once: the second to come there is behind it, and stops.
    assert in_flight._rungs._rungs[2] == [-0.5]
    assert in_flight.take("1", report(2, 0.6), 1.0)
    in_flight.begin("again")
    assert not in_flight.take("again", report(3, 0.45), 2.0)
    in_flight.take("again", last(4, 0.4), 2.0)
    ending = ends[-1].ending
    assert ending.curve["objective"] == [0.9, 0.5, 0.45, 0.4]
    assert ending.curve["ood_val/mae"] == [0.9, 0.5, 0.45, 0.4]
    assert (len(ending.times), ending.seconds) == (4, 8.0)
    assert list(ending.times) == sorted(ending.times)


def test_a_continued_sweep_goes_on_where_its_long_trials_were(tmp_path: Path) -> None:
    storage, told = InMemoryStorage(), list[str]()
    checkpoints = Checkpoints(tmp_path / "s", {})
    first = started(opened(storage), 1, HALVING, checkpoints=checkpoints)
    first.take("0", report(1, 0.9), 2.0)
    first.take("0", kept(checkpoints, first._trials["0"].asked, 2, 0.5), 2.0)
    study = opened(storage)
    later = started(study, 2, HALVING, told=told, checkpoints=Checkpoints(tmp_path / "s", {}))
    assert told == ["0 after 2"]
    assert later.take("1", report(2, 0.6), 1.0)
    later.take("0", last(3, 0.4), 2.0)
    assert study.records()[0].ending.curve["objective"] == [0.9, 0.5, 0.4]


def test_a_state_that_cannot_be_used_is_forgotten_and_the_trial_begins(tmp_path: Path) -> None:
    study, told = opened(), list[str]()
    checkpoints = Checkpoints(tmp_path / "s", {})
    in_flight = started(study, 1, told=told, checkpoints=checkpoints)
    asked = in_flight._trials["0"].asked
    in_flight.take("0", kept(checkpoints, asked, 1, 0.5), 2.0)
    in_flight.died("0", Death("lost"))
    in_flight.start("0", study.ask())
    in_flight.take("0", WorkerReport(unusable="it is damaged"), 1.0)
    assert told[-1] == "0 again: its state cannot be used: it is damaged"
    in_flight.start("0", study.ask())
    in_flight.take("0", last(1, 0.5), 2.0)
    assert study.records()[0].ending.curve["objective"] == [0.5]


def test_an_unfit_host_is_named_once_and_its_trials_run_elsewhere() -> None:
    study, told = opened(), list[str]()
    in_flight = started(study, 2, told=told, hosts=made_up_hosts(1, 1, 1))
    for name in ("0", "1"):
        in_flight.take(name, WorkerReport(place="no data", host="h1"), 0.1)
    assert told == ["0 again: ", "host n1 is left out: no data", "1 again: "]
    assert in_flight.fault is None
    assert in_flight.start("2", study.ask()).avoided == ("h1",)
    assert (study.counted, study.in_flight) == (0, 1)
    in_flight.died("2", Death("h0", unfit="a worker cannot start there: no module"))
    assert told[-1] == "host n0 is left out: a worker cannot start there: no module"


def test_weights_that_were_sent_are_kept_before_the_trial_counts() -> None:
    study, kept = opened(), dict[int, tuple[bytes, int]]()
    in_flight = started(study, 2)
    in_flight._keep = lambda number, objective, weights: kept.update(
        {number: (weights, study.counted)}
    )
    ending = replace(last(1, 0.5), weights=b"w")
    in_flight.take("0", ending, 1.0)
    assert (kept, study.counted, ending.weights) == ({0: (b"w", 0)}, 1, b"")
    in_flight._keep = lambda number, objective, weights: unsound()
    in_flight.take("1", replace(last(1, 0.5), weights=b"w"), 1.0)
    assert isinstance(in_flight.fault, PlaceError)
    assert (study.counted, study.in_flight) == (1, 1)


def test_a_trial_that_waits_for_a_host_which_is_left_out_gets_another_place() -> None:
    study = opened()
    in_flight = started(study, 2, hosts=made_up_hosts(1, 1))
    in_flight.take("0", WorkerReport(place="no data", host="h1"), 0.1)
    assert in_flight.is_outdated("1")
    in_flight.give_back("1")
    assert study.in_flight == 0
    in_flight.start("2", study.ask())
    assert not in_flight.is_outdated("2")


def test_a_report_of_an_unknown_trial_is_nobodys() -> None:
    study = opened()
    assert not started(study, 1).take("other", report(1, 0.5), 1.0)
    assert study.records() == []


def test_a_trial_whose_place_gave_way_stays_in_flight_and_stops_the_sweep() -> None:
    study = opened()
    in_flight = started(study, 2)
    in_flight.take("0", WorkerReport(place="no space", host="h0"), 1.0)
    assert isinstance(in_flight.fault, PlaceError)
    in_flight.take("1", report(1, 0.5, {"outcome": "failed", "reason": "x"}), 1.0)
    assert (study.records(), study.counted) == ([], 0)


def test_a_failure_counts_only_where_the_place_is_sound() -> None:
    study = opened()
    in_flight = started(study, 1)
    in_flight._check_place = unsound
    in_flight.died("0", Death("h0"))
    assert in_flight.fault is not None
    assert (study.records(), study.in_flight) == ([], 1)


def unsound() -> None:
    raise PlaceError("the data was taken away")


def test_workers_that_die_by_the_signal_that_ends_the_command_have_not_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(THIS, "is_told", True)
    study = opened()
    started(study, 1).died("0", Death("h0"))
    assert (study.records(), study.in_flight) == ([], 1)
