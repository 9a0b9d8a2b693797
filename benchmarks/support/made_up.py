"""Made-up outcomes of trials that trained nothing, of the size of real ones."""

from __future__ import annotations

import numpy as np

from cmir.data.manifest import DEVELOPMENT_SPLITS
from cmir.data.task import SENTIMENT
from cmir.method.training.split_scores import known_metrics
from cmir.runner.studies.records import Ending

OBJECTIVE, SEEDS = "ood_val/mae", 3
TERMS = ("prediction", "invariance", "mutual_information", "reconstruction", "penalty")


def metric_names() -> list[str]:
    """What a trial of regression reports after every epoch, the objective aside."""
    metrics = known_metrics(SENTIMENT)
    scores = [f"{split}/{metric}" for split in DEVELOPMENT_SPLITS for metric in metrics]
    return [*(f"train/loss_{term}" for term in TERMS), *scores]


def finished(rng: np.random.Generator, epochs: int) -> Ending:
    """A finished trial of so many epochs; no two numbers are the same.

    A database that compresses would make little of the same number again and again.
    """
    names = metric_names()
    metrics = {name: float(rng.random()) for name in [*names, *(f"{name}_std" for name in names)]}
    return Ending(
        "finished",
        metrics[OBJECTIVE],
        metrics,
        by_seed={name: rng.random(SEEDS).tolist() for name in names},
        best_epochs=[epochs] * SEEDS,
        curve={name: rng.random(epochs).round(6).tolist() for name in ["objective", *names]},
        seconds=1.0,
    )
