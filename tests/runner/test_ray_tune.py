"""Which packs Ray Tune is handed, and how large; asked without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage

from cmir.runner.placement import Resources
from cmir.runner.ray_tune import Plan, StudySearcher
from cmir.runner.rungs import Rungs
from cmir.runner.study import AskedTrial, SweepStudy, open_study
from cmir.runner.trials_in_flight import Progress, RunningPacks
from cmir.space.search_space import checked_space
from cmir.space.space_file import EarlyStopping, parse_sweep
from tests.support.small_sweep import SMALL

EPOCHS = 10
RATES = {"training.learning_rate": {"low": 1e-3, "high": 1e-2}}


def worker_config(pack: Sequence[AskedTrial]) -> dict[str, Any]:
    return {"numbers": [asked.number for asked in pack]}


def opened(trials: int, **changes: Any) -> SweepStudy:
    content = SMALL | {"trials": trials, "start_from": [], "search": RATES} | changes
    space = checked_space(parse_sweep(content, "s"), "s")
    return open_study(InMemoryStorage(), "s", space, {"data_checksum": "abc"})


def searching(
    study: SweepStudy,
    budget: int,
    pack: int | None,
    workers: int = 2,
    widest: int = 64,
    gpu: float = 0.0,
) -> tuple[StudySearcher, RunningPacks]:
    running = RunningPacks(study, Rungs(EPOCHS, EarlyStopping(enabled=False)), Progress())
    plan = Plan(
        budget=budget,
        epochs=EPOCHS,
        early_stopping=EarlyStopping(enabled=False),
        worker_config=worker_config,
        storage=Path("unused"),
        pack=pack,
        widest=widest,
    )
    return StudySearcher(study, plan, Resources(workers, gpus_per_trial=gpu), running), running


def report(running: RunningPacks, name: str, numbers: Sequence[int], epoch: int) -> None:
    """One epoch of a pack; its last ends it."""
    ending = {"ending": {"outcome": "finished", "objective": 1.0}} if epoch == EPOCHS else {}
    rows = [
        {"number": n, "epoch": epoch, "objective": 1.0, "metrics": {}} | ending for n in numbers
    ]
    running.take(name, rows, 0.1)


def size(config: Any) -> int:
    return len(config["numbers"])


def test_a_small_sweep_is_shared_evenly_among_the_workers() -> None:
    searcher, _ = searching(opened(8), 8, pack=16)
    assert [size(searcher.suggest(name)) for name in "ab"] == [4, 4]
    assert searcher.suggest("c") is None


def test_packs_shrink_when_little_is_left_so_that_no_worker_waits_long() -> None:
    searcher, running = searching(opened(20), 20, pack=8)
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert (size(first), size(second)) == (8, 8)
    for epoch in range(1, 1 + EPOCHS):
        report(running, "a", first["numbers"], epoch)
    searcher.on_trial_complete("a")
    for epoch in range(1, EPOCHS):
        report(running, "b", second["numbers"], epoch)
    # Four places and .8 trainings are left for two workers.
    assert size(searcher.suggest("c")) == 3
    assert size(searcher.suggest("d")) == 1
    assert searcher.suggest("e") is None


def test_the_search_is_finished_when_the_budget_is_spent() -> None:
    searcher, running = searching(opened(2), 2, pack=2, workers=1)
    pack = searcher.suggest("a")
    assert searcher.suggest("b") is None
    for epoch in range(1, 1 + EPOCHS):
        report(running, "a", pack["numbers"], epoch)
    searcher.on_trial_complete("a")
    assert searcher.suggest("b") == "FINISHED"


def test_a_pack_whose_worker_died_is_asked_for_again_one_by_one() -> None:
    searcher, _ = searching(opened(4), 4, pack=4, workers=1)
    assert searcher.suggest("a") == {"numbers": [0, 1, 2, 3]}
    searcher.on_trial_complete("a", error=True)
    again = [searcher.suggest(name)["numbers"] for name in "bcde"]
    assert again == [[4], [5], [6], [7]]
    assert searcher.suggest("f") is None


def test_the_first_worker_measures_where_the_size_is_open_and_matters() -> None:
    searcher, _ = searching(opened(40), 40, pack=None, gpu=0.5)
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert (size(first), size(second)) == (4, 4)
    assert first["measure"] == {"most": 64, "sharing": 2}
    assert "measure" not in second
    assert searcher.measured(8, 16) == (8, 16)
    assert size(searcher.suggest("c")) == 8


def test_on_a_cpu_packs_are_of_one_unless_more_are_worth_it() -> None:
    starts = [{"training.learning_rate": 0.001 * rate} for rate in range(1, 7)]
    searcher, _ = searching(opened(40, start_from=starts), 40, pack=None)
    assert [size(searcher.suggest(name)) for name in "ab"] == [1, 1]
    assert searcher.measured(1, 16) == (1, 1)
    assert size(searcher.suggest("c")) == 1
    assert searcher.measured(2, 16) == (2, 2)
    assert size(searcher.suggest("d")) == 2


@pytest.mark.parametrize(("trials", "pack"), [(8, None), (40, 4)])
def test_nothing_is_measured_where_it_would_change_nothing(trials: int, pack: int | None) -> None:
    searcher, _ = searching(opened(trials), trials, pack)
    assert "measure" not in searcher.suggest("a")


def test_the_sampler_fills_no_pack_beyond_what_leaves_enough_structures() -> None:
    starts = [{"training.learning_rate": 0.001 * rate} for rate in range(1, 7)]
    searcher, _ = searching(opened(40, start_from=starts), 40, pack=None, widest=2, gpu=0.5)
    assert size(searcher.suggest("a")) == 4
    assert searcher.measured(8, 16) == (2, 16)
    assert [size(searcher.suggest(name)) for name in "bc"] == [2, 2]
