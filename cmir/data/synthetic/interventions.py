"""Development data with its latents beside: as observed, and after an intervention on them.

For questions to a trained model that only data of known truth can answer. Nothing is written to
disk, and only development splits are in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data.dataset import DevelopmentData
from cmir.data.modality import Modality
from cmir.data.row_blocks import pool_all
from cmir.data.synthetic.design import (
    GROUND_TRUTH,
    environment_numbers,
    exchanged,
    read_design,
    stored_latents,
)
from cmir.data.synthetic.structural_model import FloatArray, IntArray, LatentKind, Latents


@dataclass(frozen=True, eq=False)
class Truth:
    """What nobody observes of the n samples of one split, in the split's order.

    Attributes:
        causal: z `(n, causal_size)`.
        spurious: s `(n, spurious_size)`.
        cause: w . z `(n,)`, the one direction of z that the label follows; with names `(n, C)`.
        cue: v . s `(n,)`, the one direction of s that follows the label; with names `(n, C)`.
        environment: number of each sample's environment, `(n,)`.
    """

    causal: FloatArray
    spurious: FloatArray
    cause: FloatArray
    cue: FloatArray
    environment: IntArray


@dataclass(frozen=True, eq=False)
class KnownData:
    """Development data and, by name of the split, the truth of its samples."""

    data: DevelopmentData
    truth: Mapping[str, Truth]


def has_ground_truth(data: DevelopmentData) -> bool:
    """Whether the data came from `cmir.data.synthetic.generate`."""
    return (data.path / GROUND_TRUTH).is_file()


def observed(data: DevelopmentData) -> KnownData:
    """The data as it is, with its truth.

    Raises:
        InputError: there is no ground truth.
    """
    design = read_design(data.path)
    table = design.table()
    return KnownData(data, _truth(data, stored_latents(data.path, design, table), table))


def intervened(data: DevelopmentData, kind: LatentKind, seed: int = 0) -> KnownData:
    """The data after do(s) or do(z), in memory: the same samples, noise and standardisation.

    The latents of one kind are exchanged among the samples of one environment and split. Means and
    deviations of the features stay those of the data that a model was trained on, because they
    belong to the model.

    Args:
        data: that has ground truth; it may come from an earlier intervention.
        kind: "spurious" for do(s), "causal" for do(z).
        seed: of the exchange.

    Raises:
        InputError: there is no ground truth.
    """
    design = read_design(data.path)
    table = design.table()
    latents = exchanged(stored_latents(data.path, design, table), kind, table, seed)
    modalities = {
        name: _shown(modality, design.observe(name, table, latents))
        for name, modality in data.modalities.items()
    }
    labels = design.scaled(latents.labels)
    train, id_val, ood_val = (
        replace(split, labels=labels[split.rows])
        for split in (data.train, data.id_val, data.ood_val)
    )
    changed = replace(data, modalities=modalities, train=train, id_val=id_val, ood_val=ood_val)
    return KnownData(changed, _truth(data, latents, table))


def _shown(modality: Modality, blocks: Iterable[npt.NDArray[np.floating[Any]]]) -> Modality:
    array = np.concatenate(list(blocks))
    pooled = None if modality.lengths is None else pool_all(array, modality.lengths)
    return replace(modality, array=array, pooled=pooled)


def _truth(data: DevelopmentData, latents: Latents, table: pl.DataFrame) -> dict[str, Truth]:
    cause = (latents.causal @ latents.rule.weights.T).astype(np.float32)
    cue = (latents.spurious @ latents.direction.T).astype(np.float32)
    every = (latents.causal, latents.spurious, cause, cue, environment_numbers(table))
    return {
        name: Truth(*(values[split.rows] for values in every))  # type: ignore[arg-type]
        for name, split in data.splits.items()
    }
