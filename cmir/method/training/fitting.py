"""Training: a generator of epoch reports for one configuration and all its seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cmir.config import TrialConfig, is_cross_validated
from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.method.environments.partitions import Partitions, partition_of
from cmir.method.language.pretrained.trained_backbone import language_of
from cmir.method.losses.independence import FEWEST_FOR_HSIC
from cmir.method.losses.modulation import FEWEST_MODALITIES
from cmir.method.networks.features import used_modalities
from cmir.method.networks.sized_network import network_for
from cmir.method.training.finetuning import check_backbones, fine_tune
from cmir.method.training.folds import folds_for
from cmir.method.training.language_features import features_with_language
from cmir.method.training.replica_stack import Stack
from cmir.method.training.reports import Diverged, EpochReport, State
from cmir.method.training.split_scores import goal_of, split_metrics


def fit(
    data: DevelopmentData,
    config: TrialConfig,
    device: str | torch.device = "cpu",
    partitions: Partitions | None = None,
    cache: Path | None = None,
    state: State | None = None,
) -> Iterator[EpochReport]:
    """Trains all seeds of a configuration as one stacked network, or, with a fine-tuned language
    model, one after the other.

    Each seed stops by itself after `training.patience` epochs without a better objective and
    keeps its best epoch. Repeatable bit for bit on one machine and device with the same number of
    threads.

    Args:
        data: training and validation splits.
        config: one configuration, its seeds and its objective.
        device: `cpu` or `cuda[:i]`.
        partitions: of the same data, where several trainings share them.
        cache: folder in which trainings share what the frozen layers of language models make of
            the texts; None: each computes it.
        state: of a report of the same training, after which it goes on: its further reports and its
            result are, bit for bit, those that it would have had; None: it begins.

    Yields:
        one report per epoch; the last one carries the result.

    Raises:
        InputError: the configuration does not fit the data; nothing was trained.
        Diverged: a non-finite loss.
    """
    partitions = partitions or Partitions(data)
    check(data, config, partitions)
    reports = _reports(data, config, torch.device(device), partitions, cache, state)
    bases = {name: one.backbone.sha256 for name, one in language_of(config).items()}
    for report in reports:
        if report.result is not None and bases:
            result = replace(report.result, bases=bases, cache=cache)
            yield replace(report, result=result)
        else:
            yield report


def _reports(
    data: DevelopmentData,
    config: TrialConfig,
    device: torch.device,
    partitions: Partitions,
    cache: Path | None,
    state: State | None,
) -> Iterator[EpochReport]:
    if config.model.backbone and not config.training.keeps_backbone:
        yield from fine_tune(data, config, device, partitions, cache, state)
        return
    features = None
    if config.model.backbone:
        language = language_of(config, cache=cache)
        features = features_with_language(data, config.model, language, device)
    stack = Stack(data, [config], device, partitions, features)
    if state is not None:
        stack.resume(state)
    while stack.running:
        report = stack.run_epoch()[0]
        if isinstance(report, Diverged):
            raise report
        yield replace(report, state=stack.state if stack.running else None)


def check(data: DevelopmentData, config: TrialConfig, partitions: Partitions | None = None) -> None:
    """Raises InputError where `fit` would, without training a network.

    The partition is made, and its reference predictor trained, unless `partitions` has them.
    """
    check_objective(data, config)
    check_backbones(data, config)
    network_for(data, config.model)
    _check_loss(data, config)
    _check_class_settings(data, config)
    _check_batch(data, config)
    _check_rates(data, config)
    _check_modulation(data, config)
    _check_averaging(config)
    # Last, because it may take a while.
    (partitions or Partitions(data)).diagnosis(*partition_of(config.environments))


def check_objective(data: DevelopmentData, config: TrialConfig) -> None:
    """Raises InputError where the objective of a configuration has no value on this data."""
    goal, folds = goal_of(config.objective, data.task), folds_for(data, config)
    held = [] if folds is None else [folds.held(fold) for fold in range(folds.count)]
    for split in held or [data.splits[goal.split]]:
        constant = np.zeros((1, len(split), *[data.task.outputs] * data.task.is_named))
        if np.isnan(goal.value(split_metrics(constant, split, data.task))).any():
            raise InputError(
                f"objective: '{config.objective}' cannot be measured on the {len(split)} samples "
                f"of {goal.split} in '{data.name}', whatever a model predicts: choose another "
                "metric."
            )


def _check_loss(data: DevelopmentData, config: TrialConfig) -> None:
    chosen, known = config.loss.prediction, data.task.prediction_losses
    if chosen not in ("auto", *known):
        allowed = f"{', '.join(('auto', *known[:-1]))} or {known[-1]}"
        raise InputError(
            f"loss.prediction must be {allowed} for the {data.task.kind} task of '{data.name}', "
            f"but got '{chosen}'."
        )


def _check_class_settings(data: DevelopmentData, config: TrialConfig) -> None:
    loss = config.loss
    given = {
        "class_weights": loss.class_weights != "none",
        "label_smoothing": loss.label_smoothing > 0,
    }
    for name in (name for name, is_set in given.items() if is_set and not data.task.is_named):
        raise InputError(
            f"loss.{name} is for the tasks classes and multilabel, but '{data.name}' is "
            f"{data.task.kind}: leave it out, or prepare the data with --task classes."
        )


def _check_batch(data: DevelopmentData, config: TrialConfig) -> None:
    batch = min(config.training.batch_size, len(data.train))
    if config.loss.decorrelation == "hsic" and batch < FEWEST_FOR_HSIC:
        raise InputError(
            f"training.batch_size must be at least {FEWEST_FOR_HSIC} with loss.decorrelation "
            f"'hsic', but a batch of '{data.name}' has {batch} samples."
        )


def _check_rates(data: DevelopmentData, config: TrialConfig) -> None:
    unknown = set(config.environments.rate) - set(data.modalities)
    if unknown:
        raise InputError(
            f"environments.rate must name modalities of '{data.name}' "
            f"({', '.join(data.modalities)}), but got {', '.join(sorted(unknown))}."
        )


def _check_modulation(data: DevelopmentData, config: TrialConfig) -> None:
    used = used_modalities(data, config.model)
    if config.training.modulation != "none" and len(used) < FEWEST_MODALITIES:
        raise InputError(
            f"training.modulation '{config.training.modulation}' compares modalities with each "
            f"other and needs {FEWEST_MODALITIES}, but got {', '.join(used)}: leave it out."
        )


def _check_averaging(config: TrialConfig) -> None:
    is_tuned = config.model.backbone and not config.training.keeps_backbone
    if config.training.averaging == "swad" and is_tuned:
        raise InputError(
            "training.averaging 'swad' does not average language models that are trained: choose "
            "polynomial, or leave them as they are with training.backbone_layers: 0."
        )
    if config.training.averaging == "swad" and is_cross_validated(config.objective):
        raise InputError(
            f"training.averaging 'swad' stops by a split that all seeds share, but the objective "
            f"'{config.objective}' has a fold for each: choose another averaging or objective."
        )
