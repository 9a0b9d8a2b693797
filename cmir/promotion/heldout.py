"""The one reading of held-out data: the seeds apart, and their average that is served."""

from __future__ import annotations

import numpy as np
import torch

from cmir.data import HeldoutData, SplitData
from cmir.learning.evaluation import predict, split_metrics, summary
from cmir.learning.features import load_features
from cmir.promotion.ensemble import Ensemble, Scores, averaged

ENSEMBLE = "ensemble_"


def heldout_scores(ensemble: Ensemble, data: HeldoutData) -> dict[str, float]:
    """Metrics of a model on the held-out splits.

    Returns:
        `split/metric`, the mean over the seeds; `split/metric_std`, their sample deviation;
        `split/ensemble_metric`, of the averaged prediction that the registered model returns.
    """
    device = torch.device("cpu")
    features = load_features(data, ensemble.card.model, device)
    named = ensemble.network.layout.unpack(ensemble.weights)
    found: dict[str, float] = {}
    for split in data.splits.values():
        scores = predict(ensemble.network, named, features, split.rows, device).numpy()
        found |= split_scores(scores.astype(np.float64), split, data)
    return found


def split_scores(scores: Scores, split: SplitData, data: HeldoutData) -> dict[str, float]:
    """The metrics of `heldout_scores` for one split, of scores `(seed, n)`."""
    seeds = summary(split_metrics(scores, split, data.task, data.label_range))
    together = split_metrics(averaged(scores, data.task), split, data.task, data.label_range)
    return seeds | {
        key.replace("/", f"/{ENSEMBLE}", 1): float(value[0]) for key, value in together.items()
    }
