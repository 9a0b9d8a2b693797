"""The robustness of a registered model, on data standardised as its own training data was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl

from cmir.data import DevelopmentData, HeldoutData
from cmir.evaluation.robustness.corruption_inputs import Scale
from cmir.evaluation.robustness.corruptions import CORRUPTIONS
from cmir.evaluation.robustness.robustness_table import evaluate_robustness
from cmir.serving.outputs import averaged
from cmir.serving.predictor import Ensemble


def ensemble_robustness(
    ensemble: Ensemble,
    data: DevelopmentData | HeldoutData,
    *,
    splits: Sequence[str] = ("id_val", "ood_val"),
    corruptions: Sequence[str] = tuple(CORRUPTIONS),
    seed: int = 0,
    by_seed: bool = True,
) -> pl.DataFrame:
    """`evaluate_robustness` of the seeds of an ensemble, or of their average, which is served.

    Args:
        ensemble: brings weights and standardisation.
        data: raw features of the same modalities.
        splits: names of its splits.
        corruptions: names of `CORRUPTIONS`.
        seed: of the corruptions.
        by_seed: a value for each seed; else one for the average over the seeds.

    Raises:
        InputError: as `evaluate_robustness`.
    """
    known = {name: one for name, one in data.modalities.items() if name in ensemble.mean}
    known |= {
        name: replace(one, mean=ensemble.mean[name].numpy(), std=ensemble.std[name].numpy())
        for name, one in known.items()
        if name not in ensemble.language
    }
    return evaluate_robustness(
        ensemble.network,
        ensemble.network.layout.unpack(ensemble.weights),
        replace(data, modalities=known),
        splits=splits,
        corruptions=corruptions,
        seed=seed,
        combine=None if by_seed else _served(ensemble),
        language=ensemble.language,
        scales={n: Scale(ensemble.mean[n], ensemble.std[n]) for n in ensemble.language},
    )


def _served(ensemble: Ensemble) -> Callable[[np.ndarray], np.ndarray]:
    card = ensemble.card
    return partial(averaged, task=card.task, temperature=card.temperature)
