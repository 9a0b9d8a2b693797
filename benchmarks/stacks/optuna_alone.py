"""Optuna without a scheduler: two processes, one journal, MLflow on sqlite, seed after seed.

Run by `benchmarks/compare.py` in a folder that holds `job.json`. The processes live until all is
done, and cut their batches from permutations instead of using a `DataLoader`: the quickest that
one gets without a stack of replicas.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import mean

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState

from benchmarks.stacks.job import Done, Job, read_job, suggest

STUDY, PROCESSES, WORKER = "alone", 2, "worker"
EPOCHS, OBJECTIVES = "epochs", "objectives"


def main() -> None:
    """Enqueues the configurations, starts the processes, waits for them."""
    job = read_job()
    study = optuna.create_study(storage=_storage(), study_name=STUDY)
    for point in job.configurations:
        study.enqueue_trial(point)
    command = [sys.executable, "-m", "benchmarks.stacks.optuna_alone", WORKER]
    workers = [subprocess.Popen(command) for _ in range(PROCESSES)]
    if any([worker.wait() for worker in workers]):
        raise SystemExit("a worker process failed")
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    epochs = sum(trial.user_attrs[EPOCHS] for trial in trials)
    Done(epochs, [x for trial in trials for x in trial.user_attrs[OBJECTIVES]]).write(Path())


def work() -> None:
    """One process: takes configurations from the study until none is left."""
    import mlflow
    import torch
    from filelock import FileLock

    torch.set_num_threads(1)
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    with FileLock("mlflow.lock"):  # A fresh database does not survive being made twice at once.
        mlflow.set_experiment(STUDY)
    job = read_job()
    study = optuna.load_study(storage=_storage(), study_name=STUDY)
    states = (TrialState.COMPLETE, TrialState.RUNNING)
    until_all = MaxTrialsCallback(len(job.configurations), states=states)
    study.optimize(lambda trial: objective(trial, job), callbacks=[until_all])


def objective(trial: optuna.Trial, job: Job) -> float:
    """Trains a configuration with one seed after another; one MLflow run for each."""
    import mlflow

    from benchmarks.stacks.plain_training import read, train

    config = {**job.fixed, **suggest(trial, job.search)}
    objectives: list[float] = []
    for seed in range(job.seeds):
        with mlflow.start_run(run_name=f"{trial.number}-{seed}"):
            mlflow.log_params({**config, "seed": seed})
            weights = Path(f"weights-{trial.number}-{seed}.pt")
            for metrics in train(read(job.data), config, seed, job.epochs, False, weights):
                mlflow.log_metrics(metrics, step=metrics["epoch"])
        objectives.append(metrics["objective"])
    trial.set_user_attr(EPOCHS, job.epochs * job.seeds)
    trial.set_user_attr(OBJECTIVES, objectives)
    return mean(objectives)


def _storage() -> JournalStorage:
    return JournalStorage(JournalFileBackend("study.journal"))


if __name__ == "__main__":
    work() if WORKER in sys.argv else main()
