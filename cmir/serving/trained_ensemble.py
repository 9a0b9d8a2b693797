"""From a finished training to the predictor that is registered; no version ships this file."""

from __future__ import annotations

import torch

from cmir.config import TrialConfig
from cmir.data import DevelopmentData, Modality
from cmir.method.networks.model import Network
from cmir.method.networks.sized_network import network_for
from cmir.method.training.reports import TrialResult
from cmir.plugins import plugins_of
from cmir.serving.distances import training_limits
from cmir.serving.predictor import Ensemble, ModalityCard, ModelCard
from cmir.serving.trained_language import (
    Moments,
    embedded_cards,
    embeddings_of,
    moments_of,
    text_limits,
    trained_card,
)


def ensemble_of(result: TrialResult, data: DevelopmentData) -> Ensemble:
    """The predictor of a finished training on its development data."""
    network = network_for(data, result.config.model)
    language = result.language
    plain = [name for name in network.inputs if name not in language]
    embeddings = embeddings_of(data, plain)
    moments = {name: _moments(data.modalities[name]) for name in plain}
    moments |= {name: moments_of(data, one) for name, one in language.items()}
    card = ModelCard(
        task=data.task.kind,
        label_range=data.task.label_range,
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
        | embedded_cards(data, plain, embeddings),
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
