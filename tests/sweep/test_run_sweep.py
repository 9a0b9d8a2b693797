"""What a sweep ended with, as the command says it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from cmir.commands.sweep_command import _as_json, _report
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


def test_where_to_look_is_an_address_of_the_trials_on_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = outcome([scored(0, 0.9, 0.8)], 1)
    ended = replace(ended, findings=replace(ended.findings, view="#/experiments/1/runs?v=trials"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert _report(Console(width=30), ended, None) == 0
    look = capsys.readouterr().out.splitlines()[-1]
    assert look.startswith("look:  ")
    assert look.endswith(" http://127.0.0.1:5000/#/experiments/1/runs?v=trials")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host:80/")
    _report(Console(width=30), ended, None)
    assert (
        capsys.readouterr().out.splitlines()[-1].endswith("host:80/#/experiments/1/runs?v=trials")
    )


def test_a_column_has_the_same_decimals_in_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    _report(Console(width=200), outcome([scored(0, 0.9, 0.8), scored(1, 0.81234, 1.0)], 2), None)
    shown = capsys.readouterr().out
    assert "0.9000" in shown
    assert "0.8123" in shown
    assert " 1.5 " in shown


def test_a_script_gets_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(json.dumps(_as_json(outcome([scored(4, 0.9, 0.8), failed(5)], 2))))
    assert (found["sweep"], found["complete"], found["budget"]) == ("small", True, 2)
    assert found["trials"] == {"finished": 1, "failed": 1}
    assert (found["best"]["trial"], found["best"]["ood_val/mae"]) == (4, 0.8)


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
