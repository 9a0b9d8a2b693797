"""One modality of every sample replaced by another sample's, or all the others: do(X_m = x').

A prediction averaged over whose vector is there is a prediction without that modality. Draws are
few, so that their own noise is known and taken out where it would add up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cmir.evaluation.probes.swap_moves import derangement
from cmir.metrics.metric_inputs import FloatArray

DRAWS = 8
# What is left of one modality is small beside what all others move: more draws.
DRAWS_OF_OTHERS = 32

Predict = Callable[[torch.Tensor], FloatArray]


@dataclass(frozen=True, eq=False)
class Replaced:
    """Predictions when some modalities come from other samples, each `(seed, n, C)`.

    Attributes:
        mean: over the draws.
        variance: of that mean, because draws are few.
        moved: mean squared change by one draw.
    """

    mean: FloatArray
    variance: FloatArray
    moved: FloatArray


@dataclass(frozen=True, eq=False)
class Intervened:
    """A model before samples `(n,)`, whose modalities can be replaced.

    Attributes:
        invariant: Z_inv `(seed, modality, n, d)`, all that predictions are made from.
        predict: from such Z_inv to predictions `(seed, n, C)`.
        before: with nothing replaced.
    """

    invariant: torch.Tensor
    predict: Predict
    before: FloatArray

    def without(self, place: int, random: np.random.Generator) -> Replaced:
        """With one modality replaced."""
        return self._replaced([place], DRAWS, random)

    def alone(self, place: int, random: np.random.Generator) -> FloatArray:
        """With all others replaced: what one modality by itself does to the prediction."""
        others = [other for other in range(self.invariant.shape[1]) if other != place]
        return self._replaced(others, DRAWS_OF_OTHERS, random).mean

    def _replaced(self, places: Sequence[int], draws: int, random: np.random.Generator) -> Replaced:
        total, squares = np.zeros_like(self.before), np.zeros_like(self.before)
        changed = self.invariant.clone()
        for _ in range(draws):
            for place in places:
                other = torch.from_numpy(derangement(self.invariant.shape[2], random))
                changed[:, place] = self.invariant[:, place, other.to(changed.device)]
            change = self.predict(changed) - self.before
            total += change
            squares += np.square(change)
        mean, moved = total / draws, squares / draws
        variance = (moved - np.square(mean)) / (draws - 1)
        return Replaced(self.before + mean, variance, moved)
