"""The runner: jobs from a list are trained once, side by side, and a kill loses none of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.method.training.fitting import fit
from cmir.method.training.reports import TrialResult
from cmir.runner.job_list import JobList
from cmir.runner.paths import Paths
from cmir.runner.runner import Jobs, Runner, RunStart, TrackedRun
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.runner.scheduling.worker import Arrays, CmirTrial, Score, WorkerReport
from cmir.runner.studies.records import TrialRecord
from cmir.runner.weights import load_result, load_scores
from tests.support.small_sweep import SMALL, working_in

FIXED = SMALL["fixed"] | {"training.epochs": 2}
RAISING = 0.5


def job(rate: float, seeds: tuple[int, ...] = (0, 1)) -> TrialConfig:
    return trial_config(FIXED | {"training.learning_rate": rate}, seeds=seeds)


def scoring() -> Score:
    """A score; local, so that workers get it by value."""

    def mean_weight(data: DevelopmentData, result: TrialResult, device: str) -> Arrays:
        return {"mean": np.array([float(result.weights.mean()), len(data.train)])}

    return mean_weight


def fragile() -> type[CmirTrial]:
    """A trainable that raises for one learning rate."""

    class Fragile(CmirTrial):
        def setup(self, config: dict[str, Any]) -> None:
            self._is_to_raise = config["trial"].training.learning_rate == RAISING
            super().setup(config)

        def _epoch(self) -> WorkerReport:
            if self._is_to_raise:
                raise RuntimeError("planted")
            return super()._epoch()

    return Fragile


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevelopmentData]:
    """Small data in a folder where MLflow's default store would be."""
    with working_in(tmp_path_factory.mktemp("jobs")) as folder:
        yield load_dataset(folder / "data" / "small").development()


class Watch:
    """What a display is told."""

    def __init__(self) -> None:
        self.starts: list[RunStart] = []
        self.ended: list[TrialRecord] = []

    def __call__(self, start: RunStart) -> Progress:
        self.starts.append(start)
        return Progress(on_end=self.ended.append)


def jobs(data: DevelopmentData, configs: list[TrialConfig], name: str = "small.jobs") -> Jobs:
    labels = {config.fingerprint: f"job {place}" for place, config in enumerate(configs)}
    tracked = TrackedRun("small", tags={"kind": "list"})
    return Jobs(name, data, JobList(configs, labels), 2, tracked=tracked, score=scoring())


@pytest.mark.slow
def test_jobs_are_trained_once_and_their_results_are_those_of_fit(data: DevelopmentData) -> None:
    paths, watch = Paths(), Watch()
    runner = Runner(paths, Placement(2))
    configs = [job(0.001), job(0.002), job(0.001)]
    records = runner.run(jobs(data, configs), watch)
    assert [record.outcome for record in records] == ["finished", "finished"]
    assert {record.name for record in records} == {"job 1", "job 2"}
    for record in records:
        path = paths.weights_of("small.jobs", record.number)
        found = load_result(record, path)
        *_, last = fit(data, record.config)
        assert last.result is not None
        assert torch.equal(found.weights, last.result.weights)
        assert (found.by_seed, found.best_epochs) == (last.result.by_seed, last.result.best_epochs)
        mean, size = load_scores(path)["mean"]
        assert (mean, size) == (pytest.approx(float(found.weights.mean())), len(data.train))
    again = runner.run(jobs(data, [*configs, job(0.003)]), watch)
    assert [len(watch.starts), len(watch.ended), len(again)] == [2, 3, 3]
    assert (watch.starts[1].total, watch.starts[1].done) == (3, 2)
    client = MlflowClient()
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parent = [run for run in runs if run.data.tags.get("kind") == "list"]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert (len(parent), len(children), parent[0].info.status) == (1, 3, "FINISHED")


@pytest.mark.slow
def test_a_job_that_fails_is_tried_once_more_and_again_by_the_next_call(
    data: DevelopmentData,
) -> None:
    watch = Watch()
    wanted = jobs(data, [job(RAISING), job(0.004)], "small.fragile")
    Runner(Paths(), Placement(2), trainable=fragile()).run(wanted, watch)
    assert sorted(record.outcome for record in watch.ended) == ["failed", "failed", "finished"]
    assert "planted" in watch.ended[-1].ending.reason + watch.ended[0].ending.reason
    Runner(Paths(), Placement(2)).run(wanted, watch)
    assert [record.outcome for record in watch.ended[3:]] == ["finished"]
    assert (watch.starts[1].total, watch.starts[1].done) == (2, 1)
