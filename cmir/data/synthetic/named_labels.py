"""Labels with names of the structural model: one class of several, or several labels at once.

Each name has an opinion o_c = w_c . z + noise, of unit variance. A sample's class is the one whose
o_c + b_c is largest; of several labels c holds where o_c + b_c > 0. The offsets b are such that the
names have the shares that are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cmir.data.task import TaskKind
from cmir.errors import InputError

FloatArray = npt.NDArray[np.float64]

# Draws and steps that the offsets are found with: shares are then right to about half a per cent.
DRAWS, STEPS, RATE = 20_000, 200, 0.5
ROUNDED = 0.02


@dataclass(frozen=True, eq=False)
class NamedRule:
    """How the labels of N samples follow from their causal latents.

    Attributes:
        weights: w `(C, causal_size)`, the noise taken into account.
        noise: of each sample and name, `(N, C)`: it stays with the sample under an intervention.
        offsets: b `(C,)`.
        task: "classes" or "multilabel".
    """

    weights: FloatArray
    noise: FloatArray
    offsets: FloatArray
    task: TaskKind

    def labels(self, causal: npt.NDArray[np.float32]) -> FloatArray:
        """Numbers of the classes `(N,)`, or 0 and 1 `(N, C)`, of latents `(N, causal_size)`."""
        opinions = causal.astype(np.float64) @ self.weights.T + self.noise + self.offsets
        if self.task == "classes":
            return np.asarray(opinions.argmax(axis=1), np.float64)
        return np.asarray(opinions > 0, np.float64)

    def standardised(self, labels: FloatArray) -> FloatArray:
        """What the spurious latents are an effect of, `(N, C)`, of about unit size a sample."""
        if self.task == "classes":
            return np.asarray(np.eye(len(self.offsets))[labels.astype(np.int64)])
        signs: FloatArray = (2 * labels - 1) / np.sqrt(len(self.offsets))
        return signs


def draw_rule(
    samples: int,
    *,
    shares: Sequence[float],
    causal_size: int,
    label_noise: float,
    task: TaskKind,
    stream: np.random.Generator,
) -> NamedRule:
    """Directions w_c uniform on the sphere, noise of the samples, and offsets for the shares.

    Args:
        samples: N.
        shares: of each name.
        causal_size: number of causal latents.
        label_noise: part of the variance of every opinion that they do not explain.
        task: "classes" or "multilabel".
        stream: of all draws.
    """
    drawn = stream.standard_normal((len(shares), causal_size))
    weights = np.sqrt(1 - label_noise) * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    noise = np.sqrt(label_noise) * stream.standard_normal((samples, len(shares)))
    trial = stream.standard_normal((DRAWS, causal_size)) @ weights.T
    trial += np.sqrt(label_noise) * stream.standard_normal(trial.shape)
    return NamedRule(weights, noise, _offsets(trial, np.asarray(shares, np.float64), task), task)


def check_shares(shares: Sequence[float], names: Sequence[str], task: TaskKind) -> None:
    """Refuse shares that no draw can have.

    Raises:
        InputError: another number than there are names, none above 0, or classes that do not sum
            to 1.
    """
    if len(shares) != len(names):
        raise InputError(
            f"shares: there must be one for each of {', '.join(names)}, but there are "
            f"{len(shares)}."
        )
    if not all(0 < share < 1 for share in shares):
        raise InputError(f"shares: must lie between 0 and 1, but got {list(shares)}.")
    if task == "classes" and abs(sum(shares) - 1) > ROUNDED:
        raise InputError(f"shares: of classes must sum to 1, but sum to {sum(shares):g}.")


def _offsets(opinions: FloatArray, shares: FloatArray, task: TaskKind) -> FloatArray:
    """b `(C,)` that give opinions `(n, C)` the shares."""
    if task == "multilabel":
        return -np.array(
            [np.quantile(column, 1 - s) for column, s in zip(opinions.T, shares, strict=True)]
        )
    wanted = shares / shares.sum()
    offsets = np.zeros(len(shares))
    for _ in range(STEPS):
        counts = np.bincount((opinions + offsets).argmax(axis=1), minlength=len(shares))
        offsets += RATE * (np.log(wanted) - np.log(np.maximum(counts, 0.5) / len(opinions)))
        offsets -= offsets.mean()
    return offsets
