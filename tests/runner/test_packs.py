"""Packs are put together from start points, interrupted trials, retries and suggestions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmir.runner.packs import Packs, widest_pack
from cmir.runner.records import Ending
from cmir.runner.storage import journal_storage
from cmir.runner.study import AskedTrial, SweepStudy, open_study
from cmir.space.search_space import checked_space
from cmir.space.space_file import parse_sweep
from tests.support.small_sweep import SMALL

NOISE = {"environments.view": "noise", "environments.count": 2, "training.learning_rate": 0.002}
PLAIN = {"environments.view": "none", "training.learning_rate": 0.002}


def opened(folder: Path, **changes: Any) -> SweepStudy:
    space = checked_space(parse_sweep(SMALL | changes, "s.yaml"), "s.yaml")
    return open_study(journal_storage(folder / "s.journal"), "s", space, {"data_checksum": "abc"})


def numbers(pack: list[AskedTrial]) -> list[int]:
    return [asked.number for asked in pack]


def at_rate(start: dict[str, Any], rate: float) -> dict[str, Any]:
    return start | {"training.learning_rate": rate}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_what_the_sampler_makes_agrees_in_structure_and_differs_in_the_rest(
    tmp_path: Path, sampler: str
) -> None:
    study = opened(tmp_path, sampler=sampler, start_from=[], trials=48)
    for rank in range(12):  # Beyond the ten random trials with which TPE begins.
        ending = Ending("finished", float(rank), curve={"objective": [1.0]})
        study.tell(study.ask().number, ending)
    packs = Packs(study)
    structures = []
    for _ in range(6):
        pack = packs.ask(4, 24)
        assert all(asked.config.structure == pack[0].config.structure for asked in pack)
        assert len({asked.config.training.learning_rate for asked in pack}) == 4
        structures.append(str(pack[0].config.structure))
    assert len(set(structures)) > 1
    assert packs.in_flight == 24


def test_a_condition_on_a_setting_that_may_vary_is_decided_by_the_first(tmp_path: Path) -> None:
    search = {
        "loss.penalty_weight": [0.0, 1.0],
        "loss.penalty": {"choices": ["irm", "coral"], "when": {"loss.penalty_weight": [1.0]}},
        "loss.invariance": {"low": 0.1, "high": 1.0},
    }
    study = opened(tmp_path, search=search, start_from=[])
    for _ in range(6):
        pack = Packs(study).ask(4, 4)
        assert len(pack) == 4
        assert len({asked.config.loss.penalty_weight for asked in pack}) == 1


def test_start_points_join_the_first_pack_that_they_agree_with(tmp_path: Path) -> None:
    starts = [NOISE, PLAIN, at_rate(NOISE, 0.003), at_rate(PLAIN, 0.004), at_rate(NOISE, 0.005)]
    packs = Packs(opened(tmp_path, start_from=starts))
    assert numbers(packs.ask(2, 5)) == [0, 2]
    assert packs.in_flight == 2
    assert numbers(packs.ask(2, 3)) == [1, 3]
    assert numbers(packs.ask(2, 1)) == [4]
    assert packs.in_flight == 5


def test_no_more_is_asked_for_than_there_are_places(tmp_path: Path) -> None:
    starts = [NOISE, PLAIN, at_rate(NOISE, 0.003), at_rate(PLAIN, 0.004), at_rate(NOISE, 0.005)]
    study = opened(tmp_path, start_from=starts, trials=3)
    packs = Packs(study)
    assert numbers(packs.ask(8, 3)) == [0, 2]
    assert numbers(packs.ask(8, 1)) == [1]
    assert study.in_flight == 3


def test_a_pack_is_no_larger_than_asked_for(tmp_path: Path) -> None:
    packs = Packs(opened(tmp_path, start_from=[]))
    assert [len(packs.ask(size, 9)) for size in (1, 3, 9)] == [1, 3, 9]


def test_the_sampler_fills_no_more_of_a_pack_than_it_may(tmp_path: Path) -> None:
    starts = [at_rate(NOISE, rate) for rate in (0.003, 0.004, 0.005)]
    packs = Packs(opened(tmp_path, start_from=starts))
    assert numbers(packs.ask(4, 9, made=2)) == [0, 1, 2]
    assert [len(packs.ask(4, 6 - count, made=2)) for count in (0, 2)] == [2, 2]


def test_a_sweep_that_searches_the_structure_tries_twelve_of_them() -> None:
    def widest(trials: int, **changes: Any) -> int:
        content = SMALL | {"trials": trials, "start_from": []} | changes
        return widest_pack(checked_space(parse_sweep(content, "s"), "s"))

    assert [widest(trials) for trials in (4, 23, 24, 72, 5000)] == [1, 1, 2, 6, 64]
    rates = {"training.learning_rate": {"low": 0.1, "high": 0.2}}
    assert widest(4, search=rates) == 64


def test_interrupted_trials_come_back_with_their_numbers_and_in_packs(tmp_path: Path) -> None:
    starts = [NOISE, PLAIN, at_rate(NOISE, 0.003)]
    before = Packs(opened(tmp_path, start_from=starts)).ask(2, 3)
    assert numbers(before) == [0, 2]
    study = opened(tmp_path, start_from=starts)
    assert study.interrupted == 3  # The one that waited for another pack was asked for as well.
    packs = Packs(study)
    assert [(a.number, a.params) for a in packs.ask(2, 3)] == [
        (asked.number, asked.params) for asked in before
    ]
    assert numbers(packs.ask(2, 1)) == [1]


def test_what_failed_in_a_pack_is_tried_once_more_and_alone(tmp_path: Path) -> None:
    study = opened(tmp_path, start_from=[NOISE, at_rate(NOISE, 0.003)])
    packs = Packs(study)
    for number in numbers(packs.ask(2, 2)):
        study.tell(number, Ending("failed", reason="its worker process died"))
    retries = [packs.ask(8, 8 - count) for count in range(2)]
    assert [numbers(pack) for pack in retries] == [[2], [3]]
    assert [pack[0].is_retry for pack in retries] == [True, True]
    study.tell(2, Ending("failed", reason="its worker process died"))
    study.tell(3, Ending("finished", 1.0, curve={"objective": [1.0]}))
    assert (study.counted, packs.in_flight) == (2, 0)
    assert len(packs.ask(4, 6)) == 4


def test_an_interrupted_retry_stays_alone(tmp_path: Path) -> None:
    study = opened(tmp_path, start_from=[NOISE])
    study.tell(study.ask().number, Ending("failed", reason="no memory"))
    study.ask()
    packs = Packs(opened(tmp_path, start_from=[NOISE]))
    assert numbers(packs.ask(4, 4)) == [1]


def test_fine_tuned_language_models_run_alone(tmp_path: Path) -> None:
    study = opened(tmp_path, fixed={"model.backbone.text": "a-folder"}, start_from=[])
    packs = Packs(study)
    assert [len(packs.ask(4, 8)) for _ in range(3)] == [1, 1, 1]


def test_the_dimensions_that_shape_a_stack_include_what_they_depend_on() -> None:
    search = {
        "training.learning_rate": [0.001, 0.002],
        "training.weight_decay": [0.1, 0.2],
        "training.gradient_clip": {"choices": [0.5, 1.0], "when": {"training.weight_decay": [0.1]}},
    }
    space = checked_space(parse_sweep(SMALL | {"search": search, "start_from": []}, "s"), "s")
    assert space.shaping == ("training.weight_decay", "training.gradient_clip")
