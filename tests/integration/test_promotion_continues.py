"""A promotion that is killed half-way goes on where it was: nothing is trained twice."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cmir.runner.studies.records import TrialRecord
from cmir.runner.studies.storage import journal_storage
from cmir.runner.studies.study import records_of
from tests.support.small_sweep import write_data, write_space

ROOT = Path(__file__).resolve().parents[2]
STUDY = "small.promotion"
ARGUMENTS = ("--top", "2", "--seeds", "2", "--force", "--why", "a test", "--concurrency", "1")


def command(workflow: str, *words: str) -> list[str]:
    return [sys.executable, str(ROOT / "workflows" / f"{workflow}.py"), *words]


def ended(folder: Path) -> list[TrialRecord]:
    journal = folder / "mlruns" / "studies" / f"{STUDY}.journal"
    return records_of(journal_storage(journal), STUDY) if journal.exists() else []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_a_killed_promotion_trained_is_not_trained_again(tmp_path: Path) -> None:
    write_data(tmp_path / "data" / "small")
    path = write_space(tmp_path, trials=3, epochs=40)
    swept = command("sweep", "--space", str(path), "--concurrency", "2")
    assert subprocess.run(swept, cwd=tmp_path, capture_output=True, timeout=300).returncode == 0

    promoting = command("promote", *ARGUMENTS)
    driver = subprocess.Popen(
        promoting, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(1200):
        if ended(tmp_path) or driver.poll() is not None:
            break
        time.sleep(0.1)
    driver.kill()
    driver.wait(timeout=60)
    before = ended(tmp_path)
    assert before

    done = subprocess.run(promoting, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    after = ended(tmp_path)
    ended_before = {record.number for record in before}
    assert [record for record in after if record.number in ended_before] == before
    assert len(after) > len(before)
    assert all(record.outcome == "finished" for record in after)
    trained = [record.config.fingerprint for record in after]
    assert len(trained) == len(set(trained))
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (version,) = client.search_model_versions("name = 'cmir-small'")
    assert version.tags["heldout_readings"] == "1"
