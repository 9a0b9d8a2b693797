"""A whole ablation through Ray: tuned, interrupted, continued, with an arm that fails."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from mlflow import MlflowClient

from cmir.ablation.ablation_plan import AblationPlan, AblationRequest, plan_ablation
from cmir.ablation.arm import Arm
from cmir.ablation.arm_store import ArmEnding
from cmir.ablation.arm_training import ArmTask, train_arm
from cmir.ablation.run_ablation import Watch, ablate, folder_of
from cmir.runner.paths import Places
from tests.support.small_promotion import open_store
from tests.support.small_sweep import SMALL, write_data, write_space
from workflows.ablate import main

FULL = {
    "environments.view": "swap",
    "environments.count": 2,
    "loss.prediction_views": "all",
    "model.representation_size": 8,
    "model.hidden_size": 8,
    "training.batch_size": 16,
    "training.learning_rate": 0.005,
}
FAMILIES = ("constraints", "plain", "random")


def counting(folder: Path) -> Callable[[ArmTask, str], ArmEnding]:
    """Trains and leaves a line; fails for one arm. Local, so that workers get it by value."""

    def work(task: ArmTask, device: str) -> ArmEnding:
        with (folder / "runs.txt").open("a") as lines:
            lines.write(f"{task.trial}\n")
        if '"mutual_information":0.0,' in task.trial and '"view":"swap"' in task.trial:
            raise ArithmeticError("planted")
        return train_arm(task, device)

    return work


def kept(plan: AblationPlan, folder: Path) -> dict[str, int]:
    files = folder_of(plan, Places(folder)).glob("*.json")
    return {file.name.partition("-")[0]: file.stat().st_mtime_ns for file in files}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_interrupted_it_continues_and_a_failing_arm_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client: MlflowClient = open_store(tmp_path, monkeypatch)
    write_data(tmp_path / "data" / "small")
    space = write_space(tmp_path, **(SMALL | {"seeds": 2}))
    config = tmp_path / "full.yaml"
    config.write_text(json.dumps(FULL))
    request = AblationRequest(
        space, config=config, budget=2, seeds=2, families=FAMILIES, concurrency=2
    )
    plan = plan_ablation(request, Places())
    ended: list[str] = []

    def interrupt(arm: Arm, ending: ArmEnding) -> None:
        ended.append(f"{arm.name}: {ending.reason}")
        if len(ended) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ablate(plan, request, Places(), client, Watch(on_end=interrupt), counting(tmp_path))
    before = kept(plan, tmp_path)
    assert len(before) >= 2, ended
    outcome = ablate(plan, request, Places(), client, Watch(), counting(tmp_path))
    after = kept(plan, tmp_path)
    assert {name: after[name] for name in before} == before

    rows = {row["arm"]: row for row in outcome.table.iter_rows(named=True)}
    assert rows["no mutual information"]["outcome"] == "failed"
    assert "ArithmeticError: planted" in rows["no mutual information"]["note"]
    finished = outcome.table.filter(pl.col("outcome") == "finished")
    assert set(finished["fingerprint"]) == set(after)
    assert "best of 2 trials" in rows["plain, tuned"]["note"]
    lines = (tmp_path / "runs.txt").read_text().splitlines()
    assert max(Counter(lines).values()) <= 2
    assert len(lines) <= len(after) + 1 + 3  # The failing arm, and what was in flight.

    arguments = ["--space", str(space), "--config", str(config), "--budget", "2", "--seeds", "2"]
    assert main([*arguments, "--families", ",".join(FAMILIES), "--concurrency", "2"]) == 0
    assert "[1/1, done]" in capsys.readouterr().out
    assert len(kept(plan, tmp_path)) == len(after) + 1
