"""A whole ablation through Ray: tuned, interrupted, continued, with an arm that fails."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from cmir.ablation.ablation_plan import AblationRequest, plan_ablation
from cmir.ablation.run_ablation import Watch, ablate, study_of
from cmir.commands.ablate_command import main
from cmir.runner.paths import Paths
from cmir.runner.runner import Runner, RunStart
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.runner.scheduling.worker import CmirTrial
from cmir.runner.studies.records import TrialRecord
from cmir.runner.studies.storage import journal_storage
from cmir.runner.studies.study import records_of
from tests.support.small_promotion import open_store
from tests.support.small_sweep import SMALL, write_data, write_space

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
FAILING = "no mutual information"


def fragile() -> type[CmirTrial]:
    """A trainable that raises for one arm; local, so that workers get it by value."""

    class Fragile(CmirTrial):
        def _epoch(self) -> Any:
            config = self._config["trial"]
            if config.loss.mutual_information == 0 and config.environments.view == "swap":
                raise ArithmeticError("planted")
            return super()._epoch()

    return Fragile


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
    request = AblationRequest(space, config=config, budget=2, seeds=2, families=FAMILIES)
    plan = plan_ablation(request, Paths())
    ended: list[TrialRecord] = []

    def interrupt(record: TrialRecord) -> None:
        ended.append(record)
        if len(ended) == 3:
            signal.raise_signal(signal.SIGINT)

    def watch(start: RunStart) -> Progress:
        return Progress(on_end=interrupt)

    runner = Runner(Paths(), Placement(2), trainable=fragile())
    with pytest.raises(KeyboardInterrupt):
        ablate(plan, request, client, runner, Watch(display=watch))
    study = study_of(plan)
    before = records_of(journal_storage(Paths().journal(study)), study)
    assert len(before) >= 3
    outcome = ablate(plan, request, client, runner, Watch())
    after = records_of(journal_storage(Paths().journal(study)), study)
    # Records stand by number, and a trial that was in flight may have a lower one.
    ended_before = {record.number for record in before}
    assert [record for record in after if record.number in ended_before] == before
    finished = [record.config.fingerprint for record in after if record.outcome == "finished"]
    assert len(finished) == len(set(finished))

    rows = {row["arm"]: row for row in outcome.table.iter_rows(named=True)}
    assert rows[FAILING]["outcome"] == "failed"
    assert "planted" in rows[FAILING]["note"]
    assert "best of 2 trials" in rows["ERM, tuned"]["note"]

    arguments = ["--space", str(space), "--config", str(config), "--budget", "2", "--seeds", "2"]
    assert main([*arguments, "--families", ",".join(FAMILIES), "--concurrency", "2"]) == 0
    shown = capsys.readouterr().out
    trainings = len({row["fingerprint"] for row in rows.values()})
    assert f"{trainings - 1} of {trainings} are done" in shown
