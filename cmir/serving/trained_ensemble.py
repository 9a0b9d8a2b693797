"""From a finished training to the predictor that is registered; no version ships this file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from cmir.config import TrialConfig
from cmir.data import DevelopmentData, Modality, SplitData
from cmir.data.task import Task
from cmir.method.networks.model import Network
from cmir.method.networks.sized_network import network_for
from cmir.method.training.reports import TrialResult
from cmir.method.training.task_metrics import task_metrics
from cmir.plugins import plugins_of
from cmir.serving.distances import training_limits
from cmir.serving.outputs import Scores, averaged
from cmir.serving.predictor import Ensemble, ModalityCard, ModelCard
from cmir.serving.trained_language import (
    Moments,
    embedded_cards,
    embedding_records,
    embeddings_of,
    moments_of,
    text_limits,
    trained_card,
)

# Of the logits of names, and the decimals that are kept of it.
COLDEST, HOTTEST, DIGITS = 0.05, 20.0, 4


def ensemble_of(result: TrialResult, data: DevelopmentData) -> Ensemble:
    """The predictor of a finished training on its development data."""
    network = network_for(data, result.config.model)
    language = result.language
    plain = [name for name in network.inputs if name not in language]
    records = embedding_records(data, plain)
    embeddings = embeddings_of(records)
    moments = {name: _moments(data.modalities[name]) for name in plain}
    moments |= {name: moments_of(data, one) for name, one in language.items()}
    card = ModelCard(
        task=data.task.kind,
        label_range=data.task.label_range,
        names=data.task.names,
        threshold=data.task.threshold,
        modalities={
            name: ModalityCard(size=size, kind=network.kinds[name])
            for name, size in network.inputs.items()
        },
        model=result.config.model,
        seeds=result.config.seeds,
        trained_on=data.name,
        development_checksum=data.checksum,
        erased=erased_modalities(result.config, network),
        distance_limits=training_limits(data, plain) | text_limits(data, language, moments),
        plugins=plugins_of("unimodal", network.kinds.values()),
        language={name: trained_card(one) for name, one in language.items()}
        | embedded_cards(records, embeddings),
    )
    mean = {name: mean for name, (mean, _) in moments.items()}
    std = {name: std for name, (_, std) in moments.items()}
    return Ensemble(card, result.weights, mean, std, language, embeddings)


def _moments(modality: Modality) -> Moments:
    return torch.from_numpy(modality.mean.copy()), torch.from_numpy(modality.std.copy())


def erased_modalities(config: TrialConfig, network: Network) -> tuple[str, ...]:
    """The modalities whose absence a training prepared for.

    Those that `erase` views erased at a positive rate, where a loss saw the views: R_inv with a
    positive weight, or the prediction over all views. A modality that a stream is fused into is
    not among them: without it the stream would have no place.
    """
    is_seen = config.loss.invariance > 0 or config.loss.prediction_views == "all"
    if config.environments.view != "erase" or not is_seen:
        return ()
    rate, targets = config.environments.rate_of, config.model.fuse.values()
    return tuple(name for name in network.sizes if rate(name) > 0 and name not in targets)


def with_temperature(
    ensemble: Ensemble, scores: Mapping[str, Scores], data: DevelopmentData
) -> Ensemble:
    """The ensemble with a temperature, where that makes its log loss on `ood_val` smaller.

    One number that divides all logits (Guo et al. 2017, "On Calibration of Modern Neural
    Networks"), fitted on `id_val`.

    Args:
        ensemble: of a task with names; any other comes back as it is.
        scores: of its seeds on `id_val` and `ood_val`, `(seed, n, C)`.
        data: with these splits.
    """
    task = data.task
    if not task.is_named:
        return ensemble
    found = fitted_temperature(scores["id_val"], data.id_val, task)
    own = (_log_loss(scores["ood_val"], data.ood_val, task, t) for t in (found, 1.0))
    if not next(own) < next(own):
        return ensemble
    return replace(ensemble, card=ensemble.card.model_copy(update={"temperature": found}))


def fitted_temperature(scores: Scores, split: SplitData, task: Task) -> float:
    """The temperature with the smallest log loss of the served probabilities on a split.

    Args:
        scores: of the seeds, `(seed, n, C)`.
        split: with n labels.
        task: with names.
    """
    found = minimize_scalar(
        lambda log: _log_loss(scores, split, task, float(np.exp(log))),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
    )
    return round(float(np.exp(found.x)), DIGITS)


def _log_loss(scores: Scores, split: SplitData, task: Task, temperature: float) -> float:
    served = averaged(scores, task, temperature)
    return float(task_metrics(served, split.labels, task)["log_loss"][0])
