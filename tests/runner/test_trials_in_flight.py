"""What the driver does with the rows of packs: curves, rungs, endings, retries. No Ray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from optuna.storages import InMemoryStorage

from cmir.runner.packs import Packs
from cmir.runner.records import TrialRecord
from cmir.runner.rungs import Rungs
from cmir.runner.study import SweepStudy, open_study
from cmir.runner.trials_in_flight import Progress, RunningPacks
from cmir.space.search_space import checked_space
from cmir.space.space_file import EarlyStopping, parse_sweep
from tests.support.small_sweep import SMALL

HALVING = EarlyStopping(grace=2, reduction=2.0)
OFF = EarlyStopping(enabled=False)


def opened(storage: InMemoryStorage | None = None) -> SweepStudy:
    space = checked_space(parse_sweep(SMALL | {"trials": 8, "start_from": []}, "s"), "s")
    return open_study(storage or InMemoryStorage(), "s", space, {"data_checksum": "abc"})


def started(
    study: SweepStudy,
    size: int,
    settings: EarlyStopping = OFF,
    ends: list[TrialRecord] | None = None,
) -> RunningPacks:
    progress = Progress() if ends is None else Progress(on_end=ends.append)
    running = RunningPacks(study, Rungs(8, settings), progress)
    running.start("pack", Packs(study).ask(size, 8))
    return running


def row(number: int, epoch: int, objective: float, **more: Any) -> dict[str, Any]:
    metrics = {"ood_val/mae": objective, "ood_val/mae_std": 0.1}
    return {"number": number, "epoch": epoch, "objective": objective, "metrics": metrics} | more


def finish(objective: float) -> dict[str, Any]:
    return {"outcome": "finished", "objective": objective, "metrics": {"ood_val/mae": objective}}


def rows(epoch: int, objectives: Sequence[float]) -> list[dict[str, Any]]:
    return [row(number, epoch, objective) for number, objective in enumerate(objectives)]


def test_each_member_has_its_own_curve_and_ending() -> None:
    study, ends = opened(), list[TrialRecord]()
    running = started(study, 2, ends=ends)
    assert running.take("pack", rows(1, [0.5, 0.7]), 1.0) == []
    last = [row(0, 2, 0.4, ending=finish(0.4)), row(1, 2, 0.6)]
    assert running.take("pack", last, 1.0) == []
    assert [record.number for record in ends] == [0]
    running.take("pack", [row(1, 3, 0.3, ending=finish(0.3))], 1.0)
    running.close("pack", died=False)
    first, second = study.records()
    assert first.ending.curve == {"objective": [0.5, 0.4], "ood_val/mae": [0.5, 0.4]}
    assert second.ending.curve["objective"] == [0.7, 0.6, 0.3]
    assert (first.objective, second.objective) == (0.4, 0.3)
    assert (len(running), study.in_flight) == (0, 0)


def test_the_seconds_of_a_pack_are_shared_by_who_trained_in_them() -> None:
    study = opened()
    running = started(study, 2)
    running.take("pack", rows(1, [0.5, 0.7]), 3.0)
    running.take("pack", [row(0, 2, 0.4, ending=finish(0.4)), row(1, 2, 0.6)], 2.0)
    running.take("pack", [row(1, 3, 0.3, ending=finish(0.3))], 1.0)
    assert [record.ending.seconds for record in study.records()] == [2.5, 3.5]


def test_who_lags_at_a_rung_is_pruned_with_its_last_values() -> None:
    study = opened()
    running = started(study, 4, HALVING)
    assert running.take("pack", rows(1, [0.1, 0.2, 0.3, 0.4]), 1.0) == []
    assert running.take("pack", rows(2, [0.5, 0.9, 0.6, 0.8]), 1.0) == [1, 3]
    pruned = study.records()
    assert [(r.number, r.outcome, r.objective) for r in pruned] == [
        (1, "pruned", 0.9),
        (3, "pruned", 0.8),
    ]
    assert pruned[0].ending.metrics == {"ood_val/mae": 0.9, "ood_val/mae_std": 0.1}
    # A row that was on its way when its member was dropped is not counted.
    assert running.take("pack", [row(1, 3, 0.1), row(0, 3, 0.4)], 1.0) == []


def test_packs_share_their_rungs_and_those_of_earlier_runs() -> None:
    storage = InMemoryStorage()
    running = started(opened(storage), 2, HALVING)
    for epoch in (1, 2):
        running.take("pack", rows(epoch, [0.5, 0.5]), 1.0)
    running.take("pack", [row(n, 3, 0.5, ending=finish(0.5)) for n in (0, 1)], 1.0)
    study = opened(storage)
    later = RunningPacks(study, Rungs(8, HALVING), Progress())
    later.start("later", Packs(study).ask(1, 4))
    later.start("last", Packs(study).ask(1, 4))
    assert later.take("later", [row(2, 2, 0.6)], 1.0) == [2]
    assert later.take("last", [row(3, 2, 0.4)], 1.0) == []


def test_a_finished_member_counts_at_its_rung_and_is_not_stopped() -> None:
    study = opened()
    running = started(study, 2, HALVING)
    assert running.take("pack", [row(0, 2, 0.9, ending=finish(0.9)), row(1, 2, 0.5)], 1.0) == []
    assert study.records()[0].outcome == "finished"
    running.start("next", Packs(study).ask(1, 4))
    assert running.take("next", [row(2, 2, 0.8)], 1.0) == [2]


def test_a_diverged_member_leaves_alone() -> None:
    study = opened()
    running = started(study, 2)
    fault = {"number": 0, "ending": {"outcome": "diverged", "reason": "non-finite in epoch 1"}}
    running.take("pack", [fault, row(1, 1, 0.5)], 1.0)
    (record,) = study.records()
    assert (record.outcome, record.objective) == ("diverged", None)
    assert running.left(epochs=2) == 0.5


def test_who_was_in_a_worker_that_died_has_failed_and_who_was_interrupted_has_not() -> None:
    for died in (True, False):
        study = opened()
        running = started(study, 3)
        running.take("pack", [row(0, 1, 0.5, ending=finish(0.5)), *rows(1, [0, 0.6, 0.7])[1:]], 1.0)
        running.close("pack", died)
        outcomes = {record.number: record.outcome for record in study.records()}
        assert outcomes == ({0: "finished"} | ({1: "failed", 2: "failed"} if died else {}))
        assert (study.counted, study.in_flight) == (1, 0 if died else 2)
        assert len(running) == 0


def test_the_work_left_counts_epochs() -> None:
    running = started(opened(), 4)
    assert running.left(epochs=4) == 4.0
    running.take("pack", rows(1, [0.1] * 4), 1.0)
    assert running.left(epochs=4) == pytest.approx(3.0)


def test_rows_without_numbers_of_the_pack_are_nobodys() -> None:
    study = opened()
    running = started(study, 1)
    assert running.take("other", [row(0, 1, 0.5)], 1.0) == []
    assert running.take("pack", [row(7, 1, 0.5)], 1.0) == []
    assert study.records() == []
