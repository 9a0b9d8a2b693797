"""What a sweep ended with, as the command says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from cmir.commands.sweep_command import _report
from cmir.runner.studies.records import TrialRecord
from cmir.sweep.findings import Findings
from cmir.sweep.leaderboard import leaderboard, schemes_compared
from cmir.sweep.run_sweep import SweepOutcome
from tests.support.small_records import record, scored


def failed(number: int, retry_of: int | None = None, is_final: bool = False) -> TrialRecord:
    plain = record(number, None, "failed")
    return replace(plain, retry_of=retry_of, ending=replace(plain.ending, is_final=is_final))


def outcome(records: Sequence[TrialRecord], counted: int) -> SweepOutcome:
    board = leaderboard(records, "ood_val/mae")
    findings = Findings(board, schemes_compared(records, "ood_val/mae"), 0)
    return SweepOutcome("small", records, counted, counted, findings)


def test_a_sweep_most_of_whose_budget_failed_says_so_and_is_no_success(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended = [scored(0, 0.9, 0.8), failed(1), failed(2, retry_of=1), failed(3, is_final=True)]
    assert _report(Console(), outcome(ended, 3), None) == 1
    told = capsys.readouterr().out
    assert "2 of 3 trials failed" in told
    assert "promote.py" not in told


def test_failures_that_were_made_good_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    again = replace(scored(2, 0.9, 0.7), retry_of=1)
    ended = [scored(0, 0.9, 0.8), failed(1), again, failed(3, is_final=True)]
    assert _report(Console(), outcome(ended, 3), None) == 0
    assert "promote.py --sweep small" in capsys.readouterr().out


def test_weights_that_lie_elsewhere_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    ended = outcome([scored(0, 0.9, 0.8)], 1)
    moved = replace(ended, findings=replace(ended.findings, missing=(4, 0)))
    assert _report(Console(), moved, None) == 0
    assert "The weights of trials 4, 0, among the best, are not on this" in capsys.readouterr().out
