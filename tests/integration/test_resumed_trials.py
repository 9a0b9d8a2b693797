"""A long trial whose worker is killed goes on from its last state, and no epoch is told twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from cmir.config import trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.method.training.fitting import fit
from cmir.runner.job_list import JobList
from cmir.runner.paths import Paths
from cmir.runner.runner import Jobs, Runner, RunStart, TrackedRun
from cmir.runner.scheduling import kept_state
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.runner.scheduling.worker import CmirTrial, WorkerReport
from cmir.runner.weights import load_result
from tests.support.small_sweep import SMALL, working_in

EPOCHS, LAST = 6, 4


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DevelopmentData]:
    with working_in(tmp_path) as folder:
        yield load_dataset(folder / "data" / "small").development()


def killed_once(mark: Path) -> type[CmirTrial]:
    """Epochs count as long ones; the process ends before epoch 5, the first time it comes there."""

    class KilledOnce(CmirTrial):
        def setup(self, config: dict[str, Any]) -> None:
            kept_state.WORTH, kept_state.SHARE = 0.0, 1e9
            self._trained = config["state"].epoch
            super().setup(config)

        def _epoch(self) -> WorkerReport:
            if self._trained == LAST and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            self._trained += 1
            return super()._epoch()

    return KilledOnce


@pytest.mark.slow
def test_a_killed_trial_goes_on_from_its_last_state(data: DevelopmentData) -> None:
    config = trial_config(SMALL["fixed"] | {"training.epochs": EPOCHS}, seeds=(0, 1))
    epochs, lines = list[tuple[int, int]](), list[str]()

    def watched(start: RunStart) -> Progress:
        return Progress(
            on_epoch=lambda number, epoch, objective: epochs.append((number, epoch)),
            on_again=lambda number, why: lines.append(why),
            on_resume=lambda number, epoch: lines.append(f"{number} after {epoch}"),
        )

    paths, tracked = Paths(), TrackedRun("small", live_seconds=1.0)
    jobs = Jobs("small.long", data, JobList([config]), EPOCHS, tracked=tracked)
    runner = Runner(paths, Placement(1), trainable=killed_once(Path("killed").absolute()))
    (record,) = runner.run(jobs, watched)
    assert lines[0].startswith("its worker process died")
    assert lines[1:] == [f"0 after {LAST}"]
    assert epochs == [(0, epoch) for epoch in range(1, EPOCHS + 1)]
    whole = list(fit(data, config))
    wanted = whole[-1].result
    assert wanted is not None
    assert record.ending.curve["objective"] == [report.objective for report in whole]
    found = load_result(record, paths.weights_of("small.long", record.number))
    assert torch.equal(found.weights, wanted.weights)
    assert (found.by_seed, found.best_epochs) == (wanted.by_seed, wanted.best_epochs)
    assert not paths.checkpoints("small.long").exists()
    assert_drawn_once(MlflowClient())


def assert_drawn_once(client: MlflowClient) -> None:
    """One run of the trial, with one point for each epoch."""
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.trial = '0'")
    (points,) = [client.get_metric_history(run.info.run_id, "objective") for run in runs]
    assert [point.step for point in points] == list(range(1, EPOCHS + 1))
    times = [point.timestamp for point in points]
    assert times == sorted(times)
