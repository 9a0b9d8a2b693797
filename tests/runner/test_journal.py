"""The journal of a sweep with one writer: fewer writes, the same record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from cmir.runner.records import Ending
from cmir.runner.storage import journal_storage
from cmir.runner.study import TrialStudy, open_study, records_of
from cmir.space.search_space import checked_space
from cmir.space.space_file import parse_sweep
from cmir.space.space_source import SpaceSource
from tests.support.small_sweep import SMALL

CURVE = {"objective": [0.9, 0.5], "train/mae": [0.8, 0.4]}
ENDINGS = [
    Ending("finished", 0.5, {"ood_val/mae": 0.5}, {"ood_val/mae": [0.4, 0.6]}, (1, 2), CURVE),
    Ending("pruned", 0.6, {"ood_val/mae": 0.6}, curve=CURVE),
    Ending("diverged", reason="'prediction' became non-finite"),
    Ending("failed", reason="no memory"),
]


def opened(path: Path, alone: bool = True) -> TrialStudy:
    space = checked_space(parse_sweep(SMALL, "s.yaml"), "s.yaml")
    return open_study(
        journal_storage(path, alone), "s", SpaceSource(space), {"data_checksum": "abc"}
    )


def trials_in(path: Path) -> list[FrozenTrial]:
    return optuna.load_study(study_name="s", storage=journal_storage(path)).trials


def told(trial: FrozenTrial) -> tuple[Any, ...]:
    return trial.number, trial.state, trial.values, trial.params, trial.user_attrs


@pytest.mark.parametrize("again", [False, True])
def test_a_lone_writer_keeps_the_same_record_with_fewer_writes(tmp_path: Path, again: bool) -> None:
    records = []
    for alone in (False, True):
        study = opened(tmp_path / f"{alone}.journal", alone)
        for ending in ENDINGS:
            study.tell(study.ask().number, ending)
            study = opened(tmp_path / f"{alone}.journal", alone) if again else study
        records.append([told(trial) for trial in trials_in(tmp_path / f"{alone}.journal")])
    assert records[0] == records[1]


def test_a_trial_waits_for_the_disk_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = opened(tmp_path / "s.journal")
    study.tell(study.ask().number, ENDINGS[0])
    append, writes = JournalFileBackend.append_logs, []

    def counted(backend: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        writes.append(logs)
        append(backend, logs)

    monkeypatch.setattr(JournalFileBackend, "append_logs", counted)
    study.tell(study.ask().number, ENDINGS[1])
    assert len(writes) == 2
    assert sum(map(len, writes)) > 6


def test_a_trial_that_was_handed_out_is_in_the_file(tmp_path: Path) -> None:
    study = opened(tmp_path / "s.journal")
    study.tell(study.ask().number, ENDINGS[0])
    asked = study.ask()
    trial = trials_in(tmp_path / "s.journal")[-1]
    assert (trial.number, trial.state) == (asked.number, TrialState.RUNNING)
    assert trial.user_attrs["config"] == asked.config.flat()
    assert opened(tmp_path / "s.journal").ask() == asked


def test_a_trial_that_nobody_was_given_yet_need_not_be(tmp_path: Path) -> None:
    study = opened(tmp_path / "s.journal")
    study.tell(study.ask().number, ENDINGS[0])
    study._study.ask().suggest_float("training.learning_rate", 1e-3, 1e-2, log=True)
    assert len(trials_in(tmp_path / "s.journal")) == 1
    assert opened(tmp_path / "s.journal").interrupted == 0


def test_a_failure_is_kept_with_the_trial_that_repeats_it(tmp_path: Path) -> None:
    study = opened(tmp_path / "s.journal")
    study.tell(study.ask().number, ENDINGS[3])
    failed, again = trials_in(tmp_path / "s.journal")
    assert (failed.state, again.state) == (TrialState.FAIL, TrialState.WAITING)


def test_records_come_from_what_was_told_and_are_those_of_the_file(tmp_path: Path) -> None:
    study = opened(tmp_path / "s.journal")
    for ending in ENDINGS[:3]:
        study.tell(study.ask().number, ending)
    read = records_of(journal_storage(tmp_path / "s.journal"), "s")
    assert study.records() == read == opened(tmp_path / "s.journal").records()
    assert study.records()[0] is study.records()[0]
    assert [record.ending.as_json() for record in read] == [
        {**ending.as_json(), "best_epochs": list(ending.best_epochs)} for ending in ENDINGS[:3]
    ]
