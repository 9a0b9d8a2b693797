"""The stack of Ray's own tutorial: function trainable, OptunaSearch, MLflowLoggerCallback.

Run by `benchmarks/compare.py` in a folder that holds `job.json`. One seed is one trial.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import ray
from optuna import Trial
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch

from benchmarks.stacks.job import Done, Job, read_job, suggest
from benchmarks.stacks.plain_training import read, train

SEED = "seed"


def trainable(config: dict[str, Any], job: Job) -> None:
    """Trains one configuration with one seed and reports each epoch."""
    weights = Path(tune.get_context().get_trial_dir()) / "weights.pt"
    full = {**job.fixed, **config}
    for metrics in train(read(job.data), full, full.pop(SEED), job.epochs, True, weights):
        tune.report(metrics)


def space(trial: Trial, job: Job) -> None:
    """The define-by-run space: the configuration and the seed."""
    suggest(trial, job.search)
    trial.suggest_int(SEED, 0, job.seeds - 1)


def main() -> None:
    """Runs all configurations with all seeds, two at a time."""
    job, here = read_job(), Path().resolve()
    points = [{**point, SEED: seed} for point in job.configurations for seed in range(job.seeds)]
    ray.init(num_cpus=2)
    searcher = OptunaSearch(
        partial(space, job=job), metric="objective", mode="min", points_to_evaluate=points
    )
    tuner = tune.Tuner(
        tune.with_resources(partial(trainable, job=job), {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher, num_samples=len(points), max_concurrent_trials=2
        ),
        run_config=tune.RunConfig(
            name="tutorial",
            storage_path=str(here / "ray_results"),
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{here}/mlflow.db", experiment_name="tutorial"
                )
            ],
        ),
    )
    grid = tuner.fit()
    rows = [grid[index].metrics or {} for index in range(len(grid))]
    Done(sum(row["epoch"] for row in rows), [row["objective"] for row in rows]).write(here)


if __name__ == "__main__":
    main()
