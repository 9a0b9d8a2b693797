"""What moves when one modality comes from another sample: the parts, and the predictions.

A paired intervention, do(X_m = x') with x' of another sample of the split. A model whose
predictions do not follow a modality keeps them; a split that is real lets Z_spu go with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from cmir.data import DevelopmentData
from cmir.evaluation.probes.ground_truth import VALIDATION, flat_scores
from cmir.evaluation.probes.linear_probes import BySeed
from cmir.evaluation.probes.representations import TrainedModel

DRAWS = 4


@dataclass(frozen=True, eq=False)
class SwapMoves:
    """Of one modality, in one split; one value per seed each.

    Attributes:
        invariant: mean squared move of Z_inv, all modalities joined, over twice its variance: 1 if
            all of Z_inv comes from this modality, 0 if nothing.
        spurious: the same of Z_spu.
        prediction: root mean square change of the predictions in their standard deviations; 0
            where they do not follow the modality, about 1.4 where they follow nothing else.
    """

    invariant: BySeed
    spurious: BySeed
    prediction: BySeed


BySplit = Mapping[str, Mapping[str, SwapMoves]]


def swap_moves(model: TrainedModel, data: DevelopmentData, seed: int = 0) -> BySplit:
    """What swapping each modality moves.

    Args:
        model: a trained model.
        data: that it was trained on.
        seed: of the draws, of which there are four.

    Returns:
        validation split -> modality -> what moves.
    """
    random = np.random.default_rng(seed)
    return {name: _moves(model, data, data.splits[name].rows, random) for name in VALIDATION}


def _moves(
    model: TrainedModel, data: DevelopmentData, rows: np.ndarray, random: np.random.Generator
) -> dict[str, SwapMoves]:
    vectors = model.vectors(data, rows)
    invariant, spurious = model.encode_by_modality(vectors)
    others = [derangement(len(rows), random) for _ in range(DRAWS)]
    before = flat_scores(model.predicted(invariant))
    spread = np.where(before.std(axis=1) > 0, before.std(axis=1), np.inf)
    found = {}
    for place, name in enumerate(model.network.sizes):
        changes = [
            flat_scores(model.predicted(_swapped(invariant, place, other))) - before
            for other in others
        ]
        found[name] = SwapMoves(
            _share(invariant, place),
            _share(spurious, place),
            np.sqrt(np.mean([np.square(change).mean(axis=1) for change in changes], axis=0))
            / spread,
        )
    return found


def _swapped(parts: torch.Tensor, place: int, other: np.ndarray) -> torch.Tensor:
    """Parts `(replica, modality, n, d)` with one modality's from other samples."""
    changed = parts.clone()
    changed[:, place] = parts[:, place, torch.from_numpy(other).to(parts.device)]
    return changed


def _share(parts: torch.Tensor, place: int) -> BySeed:
    """The modality's part of the variance, which is the mean squared move over all pairs."""
    variance = parts.var(2, correction=0).sum(-1)
    share = variance[:, place] / variance.sum(1).clamp(min=1e-12)
    return np.asarray(share.cpu().numpy(), np.float64)


def derangement(count: int, random: np.random.Generator) -> np.ndarray:
    """A permutation that leaves nothing in its place."""
    order = random.permutation(count)
    other = np.empty(count, np.int64)
    other[order] = np.roll(order, 1)
    return other
