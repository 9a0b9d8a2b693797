"""`deploy/slurm.sh` on a SLURM of two nodes: its time runs out, it goes on, the budget is exact."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.support.timed import ROOT
from tests.support.small_slurm import asked, small_slurm
from tests.support.small_sweep import write_data, write_space

PATIENCE = 240.0
TRIALS = 8


def wait_until(log: Path, pattern: str) -> str:
    """The log, once it holds this."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        text = log.read_text() if log.exists() else ""
        if re.search(pattern, text):
            return text
        time.sleep(0.2)
    pytest.fail(f"{log.name} holds no {pattern!r} after {PATIENCE:.0f} seconds:\n{text}")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_whose_time_runs_out_goes_on_and_ends_with_exactly_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(tmp_path / "data" / "small")
    write_space(tmp_path, trials=TRIALS, epochs=20)
    monkeypatch.chdir(tmp_path)
    own = {"HOME": tmp_path, "BIN": Path(sys.executable).parent, "PYTHONPATH": ROOT}
    for name, value in own.items():
        monkeypatch.setenv(name, str(value))
    for name in [name for name in os.environ if name.startswith(("RAY_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    # Not pytest's folder: sockets lie below it.
    with (
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as short,
        small_slurm(Path(short)) as slurm,
    ):
        words = ["--cpus-per-task=1", str(ROOT / "deploy" / "slurm.sh")]
        words += ["sweep", "--space", "small.yaml"]
        number = asked("sbatch", "--parsable", *words, environment=slurm).strip()
        log = tmp_path / f"cmir-{number}.log"
        wait_until(log, rf"\[1/{TRIALS}")
        # What SLURM itself does when the time is nearly up, which it counts in minutes.
        asked("scancel", "--signal=USR1", "--batch", number, environment=slurm)
        text = wait_until(log, r"start 2: the command ended with 0")
    assert "start 1: the command ended with 130" in text
    assert re.search(r"continuing: \d trials are done", text)
    assert "2 trials at a time" in text
    journal = JournalFileBackend(str(tmp_path / "mlruns" / "studies" / "small.journal"))
    (study,) = optuna.get_all_study_summaries(JournalStorage(journal))
    assert study.n_trials == TRIALS
