"""A search of rates in one world, as a sweep does it, without Ray: rounds of trials as stacks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
import torch

from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData
from cmir.method.training.replica_stack import Stack
from cmir.method.training.reports import Diverged, TrialResult
from cmir.runner.studies.records import Ending, TrialRecord
from experiments.verdicts.worlds import MODALITIES

OBJECTIVE = "ood_val/mae"
TRIALS, ROUND = 24, 6
SEEDS = (0, 1, 2)
FIXED = {
    "environments.view": "swap",
    "environments.count": 1,
    "loss.prediction_views": "all",
    "loss.mutual_information": 0.0,
    "loss.reconstruction": 0.0,
    "model.representation_size": 32,
    "model.hidden_size": 64,
    "training.batch_size": 100,
    "training.epochs": 8,
    "training.patience": 8,
}


def searched(data: DevelopmentData, seed: int) -> tuple[list[TrialRecord], dict[int, TrialResult]]:
    """Records of 24 trials of one seed each, by TPE in rounds of 6, and the models they left."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
    study = optuna.create_study(sampler=sampler)
    records: list[TrialRecord] = []
    results: dict[int, TrialResult] = {}
    while len(records) < TRIALS:
        asked = [study.ask() for _ in range(ROUND)]
        configs = [_suggested(trial) for trial in asked]
        ended = trained(data, configs)
        for place, trial in enumerate(asked):
            result = ended.get(place)
            records.append(_record(trial, configs[place], result))
            if result is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            results[trial.number] = result
            study.tell(trial, result.objective)
    return records, results


def trained(data: DevelopmentData, configs: Sequence[TrialConfig]) -> dict[int, TrialResult]:
    """Configurations of one structure as one stack, by place; what diverged is left out."""
    stack, ended = Stack(data, configs, torch.device("cpu")), dict[int, TrialResult]()
    while stack.running:
        for place, report in stack.run_epoch().items():
            if not isinstance(report, Diverged) and report.result is not None:
                ended[place] = report.result
    return ended


def _suggested(trial: optuna.Trial) -> TrialConfig:
    values = {
        "loss.invariance": trial.suggest_float("loss.invariance", 1e-3, 3.0, log=True),
        "training.learning_rate": trial.suggest_float(
            "training.learning_rate", 3e-4, 3e-3, log=True
        ),
    }
    for name in MODALITIES:
        key = f"environments.rate.{name}"
        values[key] = trial.suggest_float(key, 0.0, 1.0)
    return trial_config(FIXED | values, objective=OBJECTIVE, seeds=(0,))


def _record(trial: optuna.Trial, config: TrialConfig, result: TrialResult | None) -> TrialRecord:
    if result is None:
        ending = Ending("diverged")
    else:
        ending = Ending("finished", result.objective, result.metrics, result.by_seed)
    return TrialRecord(trial.number, trial.params, config, ending, None, 0.0, 0.0)
