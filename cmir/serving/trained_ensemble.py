"""From a finished training to the predictor that is registered; no version ships this file."""

from __future__ import annotations

import torch

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.method.networks.model import Network
from cmir.method.networks.sized_network import network_for
from cmir.method.training.reports import TrialResult
from cmir.plugins import plugins_of
from cmir.serving.distances import training_limits
from cmir.serving.predictor import Ensemble, ModalityCard, ModelCard


def ensemble_of(result: TrialResult, data: DevelopmentData) -> Ensemble:
    """The predictor of a finished training on its development data."""
    network = network_for(data, result.config.model)
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
        distance_limits=training_limits(data, network.inputs),
        plugins=plugins_of("unimodal", network.kinds.values()),
    )
    mean = {name: torch.from_numpy(data.modalities[name].mean.copy()) for name in network.inputs}
    std = {name: torch.from_numpy(data.modalities[name].std.copy()) for name in network.inputs}
    return Ensemble(card, result.weights, mean, std)


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
