from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cmir.sweep.schedule import RungScheduler
from cmir.sweep.sweep_file import EarlyStopping

SETTINGS = EarlyStopping(grace=2, reduction=2.0)


def scheduler(settings: EarlyStopping = SETTINGS) -> RungScheduler:
    found = RungScheduler(8, settings)
    found.set_search_properties("score", "max")
    return found


def report(to: RungScheduler, name: str, epoch: int, score: float) -> str:
    trial: Any = SimpleNamespace(trial_id=name)
    controller: Any = None
    if name not in to._trial_info:
        to.on_trial_add(controller, trial)
    return to.on_trial_result(controller, trial, {"epoch": epoch, "score": score})


def test_a_trial_that_lags_at_a_rung_is_stopped_and_remembered() -> None:
    asha = scheduler()
    assert report(asha, "good", 2, 1.0) == "CONTINUE"
    assert report(asha, "bad", 1, 0.0) == "CONTINUE"
    assert report(asha, "bad", 2, 0.0) == "STOP"
    assert asha.stopped == {"bad"}


def test_earlier_trials_count_as_if_they_had_run_now() -> None:
    asha = scheduler()
    asha.replay("earlier-0", [0.5, 1.0])
    assert report(asha, "late", 2, 0.0) == "STOP"
    assert report(asha, "better", 2, 2.0) == "CONTINUE"


def test_an_earlier_trial_counts_only_at_rungs_that_it_reached() -> None:
    asha = scheduler()
    asha.replay("earlier-0", [1.0, 1.0, 1.0])
    assert report(asha, "late", 4, 0.0) == "CONTINUE"


@pytest.mark.parametrize("epoch", [1, 2, 4, 7])
def test_nothing_is_stopped_when_early_stopping_is_off(epoch: int) -> None:
    asha = scheduler(EarlyStopping(enabled=False))
    report(asha, "good", epoch, 1.0)
    assert report(asha, "bad", epoch, 0.0) == "CONTINUE"
