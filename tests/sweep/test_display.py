"""What a person sees while a sweep runs."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from cmir.runner.paths import Places
from cmir.runner.placement import Resources
from cmir.runner.records import TrialRecord
from cmir.sweep.display import SweepDisplay
from cmir.sweep.preparation import prepare_sweep
from cmir.sweep.run_sweep import SweepStart
from tests.support.small_records import record
from tests.support.small_sweep import working_in, write_space


def told(folder: Path, before: list[TrialRecord], ending: TrialRecord) -> str:
    """What the end of a trial prints, in a sweep whose earlier starts left some records."""
    with working_in(folder):
        prepared = prepare_sweep(write_space(folder), {}, Places())
    start = SweepStart(
        "small", prepared, Resources(1), len(before), 0, "sqlite:///mlflow.db", -1.0, before
    )
    shown = io.StringIO()
    with SweepDisplay(Console(file=shown, width=100), start) as display:
        display.progress().on_end(ending)
    return shown.getvalue()


@pytest.mark.parametrize(("score", "is_best"), [(0.71, False), (0.69, True)])
def test_a_sweep_that_continues_remembers_the_best_of_its_earlier_starts(
    tmp_path: Path, score: float, is_best: bool
) -> None:
    text = told(tmp_path, [record(0, 0.9), record(1, 0.7)], record(2, score))
    assert (f"{score:.4f} *" in text) == is_best


def test_the_time_left_falls_while_a_trial_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with working_in(tmp_path):
        prepared = prepare_sweep(write_space(tmp_path, epochs=10, trials=2), {}, Places())
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    start = SweepStart("small", prepared, Resources(1), 0, 0, "sqlite:///mlflow.db", -1.0)
    display, left = SweepDisplay(Console(file=io.StringIO()), start), []
    hooks = display.progress()
    for epoch in range(1, 10):
        now = 100.0 + epoch
        hooks.on_epoch(0, epoch, 1.0)
        left.append(display._left())
    assert left == [f"{20 - epoch} s left" for epoch in range(1, 10)]
