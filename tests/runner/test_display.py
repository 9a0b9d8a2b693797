"""What a person sees while a sweep runs."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from cmir.runner.display import RunDisplay
from cmir.runner.runner import RunStart
from cmir.runner.scheduling.placement import Resources
from cmir.runner.studies.records import TrialRecord
from tests.support.small_records import record


def started(total: int, before: list[TrialRecord]) -> RunStart:
    return RunStart("small", total, len(before), 0, 10, Resources(1), -1.0, "", before)


def told(before: list[TrialRecord], ending: TrialRecord) -> str:
    """What the end of a trial prints, in a sweep whose earlier starts left some records."""
    shown = io.StringIO()
    with RunDisplay(Console(file=shown, width=100), started(4, before)) as display:
        display.progress().on_end(ending)
    return shown.getvalue()


@pytest.mark.parametrize(("score", "is_best"), [(0.71, False), (0.69, True)])
def test_a_sweep_that_continues_remembers_the_best_of_its_earlier_starts(
    score: float, is_best: bool
) -> None:
    text = told([record(0, 0.9), record(1, 0.7)], record(2, score))
    assert (f"{score:.4f} *" in text) == is_best


def test_a_failure_is_one_line_that_says_where_its_traceback_is() -> None:
    failed = record(3, None, "failed", scheme="swap")
    ending = replace(failed.ending, reason="ValueError at x.py:3: a\nb", traceback="...")
    (line,) = told([], replace(failed, ending=ending)).splitlines()
    assert line.endswith("x.py:3: a (traceback.txt of its run in MLflow, 003 swap)")


def test_an_interrupted_sweep_tells_its_best() -> None:
    display = RunDisplay(Console(file=io.StringIO()), started(4, [record(0, 0.9), record(1, 0.7)]))
    assert display.summary() == "2 of 4 are done, the best is trial 1 with 0.7000."


def test_a_trial_that_goes_on_says_after_which_epoch() -> None:
    shown = io.StringIO()
    with RunDisplay(Console(file=shown, width=100), started(4, [])) as display:
        display.progress().on_again(3, "its host, b, went away")
        display.progress().on_resume(3, 4)
    assert shown.getvalue().splitlines() == [
        "trial   3  runs again: its host, b, went away",
        "trial   3  goes on after epoch 4",
    ]
    assert "3 (epoch 4)" in display._line().plain
