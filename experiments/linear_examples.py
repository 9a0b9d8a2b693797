"""Data of the linear unit tests of invariance: examples 1, 2, 3, scrambled 1s, 2s, 3s.

Aubin et al. 2021, "Linear unit-tests for invariance discovery", arXiv 2102.10867, Sec. 3, in the
numbers of the code published with it. An environment has an invariant block of 5 features and a
spurious one of 5, whose link with the label differs by environment or is no cause of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from benchmarks.support.timed import BenchmarkError
from cmir.method.networks.replicas import generator

INVARIANT = SPURIOUS = 5
FEATURES = INVARIANT + SPURIOUS

Kind = Literal["mse", "bce"]
Split = Literal["train", "validation", "test"]

# Streams of random numbers of one data seed: the problem itself, then its splits.
PROBLEM = 0
STREAMS: Mapping[Split, int] = {"train": 1, "validation": 2, "test": 3}

# An environment draws `samples` invariant features, spurious features and labels.
Environment = Callable[[int, Generator], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Sample:
    """Inputs `(environment, samples, 10)` and labels `(environment, samples)` of one split."""

    inputs: Tensor
    labels: Tensor


class Problem:
    """One example with its number of environments and a data seed, which fixes all its numbers.

    A scrambled example is the plain one of the same seed with its features mixed.

    Attributes:
        kind: "mse" for regression, "bce" for labels 0 and 1.
        mixing: orthogonal `(10, 10)`, the identity if plain.
    """

    def __init__(self, example: str, environments: int, data_seed: int) -> None:
        if environments < 2:
            raise BenchmarkError(
                f"environments must be 2 or more, but got {environments}: invariance is a "
                "comparison."
            )
        draw_environments, self.kind = EXAMPLES[example.removesuffix("s")]
        source = generator(data_seed, PROBLEM, "cpu")
        self._environments = draw_environments(environments, source)
        rotation = torch.linalg.qr(torch.randn(FEATURES, FEATURES, generator=source)).Q
        self.mixing = rotation if example.endswith("s") else torch.eye(FEATURES)
        self._data_seed = data_seed

    def draw(self, split: Split, samples: int, shuffled: bool) -> Sample:
        """Draws a split with `samples` of each environment.

        Args:
            split: decides which random numbers, nothing else.
            samples: even, half of them for each label where there are two.
            shuffled: the spurious block is permuted among the samples of its environment, which
                keeps its distribution and cuts its link with the label: the test of all methods,
                and the training of the oracle.
        """
        if samples < 2 or samples % 2:
            raise BenchmarkError(f"samples must be even and positive, but got {samples}.")
        source = generator(self._data_seed, STREAMS[split], "cpu")
        drawn = [draw(samples, source) for draw in self._environments]
        invariant, spurious, labels = (torch.stack(parts) for parts in zip(*drawn, strict=True))
        if shuffled:
            spurious = torch.stack(
                [own[torch.randperm(samples, generator=source)] for own in spurious]
            )
        return Sample(torch.cat([invariant, spurious], 2) @ self.mixing, labels)


def cause_and_effect(environments: int, source: Generator) -> list[Environment]:
    """Example 1, regression: causes x of y, and effects z of y, with noise by environment.

    x ~ N(0, s_e^2), y = W x + N(0, s_e^2), z = V y + N(0, 1), label = the sum of y. The paper calls
    .1, 1.5, 2 variances; the published code takes them as standard deviations s_e, and so do we.
    """
    spreads = [0.1, 1.5, 2.0][:environments]
    spreads += [10 ** _uniform(-2, 1, source) for _ in range(environments - 3)]
    forward = torch.randn(INVARIANT, INVARIANT, generator=source) / INVARIANT
    backward = torch.randn(INVARIANT, SPURIOUS, generator=source) / SPURIOUS

    def environment(spread: float) -> Environment:
        def draw(samples: int, source: Generator) -> tuple[Tensor, Tensor, Tensor]:
            causes = spread * torch.randn(samples, INVARIANT, generator=source)
            noise = spread * torch.randn(samples, INVARIANT, generator=source)
            targets = causes @ forward + noise
            effects = targets @ backward + torch.randn(samples, SPURIOUS, generator=source)
            return causes, effects, targets.sum(1)

        return draw

    return [environment(spread) for spread in spreads]


def cows_and_camels(environments: int, source: Generator) -> list[Environment]:
    """Example 2, classification: the animal decides the label, the ground nearly tells the animal.

    With probability p_e an animal stands on its usual ground; a share s_e are cows. Each block is
    +-1 with noise of variance 1/10, and the animal's is a hundred times smaller than the ground's.
    """
    usual = [0.95, 0.97, 0.99][:environments]
    cows = [0.3, 0.5, 0.7][:environments]
    for _ in range(environments - 3):
        usual.append(_uniform(0.9, 1.0, source))
        cows.append(_uniform(0.3, 0.7, source))

    def environment(usual: float, cows: float) -> Environment:
        def draw(samples: int, source: Generator) -> tuple[Tensor, Tensor, Tensor]:
            animal = _signs(cows, samples, source)
            ground = animal * _signs(usual, samples, source)
            seen = 0.01 * (animal + _noise(samples, INVARIANT, source))
            behind = ground + _noise(samples, SPURIOUS, source)
            return seen, behind, (seen.sum(1) > 0).float()

        return draw

    return [environment(*pair) for pair in zip(usual, cows, strict=True)]


def small_margin(environments: int, source: Generator) -> list[Environment]:
    """Example 3, classification: a small margin that all environments share, a large one of each.

    Label 0: invariant features around .1, spurious ones around m_e ~ N(0, 1); label 1 the negative
    of both; all with standard deviation .1. The spurious directions of few environments have a
    common half space, so that a spurious rule fits all of them.
    """
    shortcuts = torch.randn(environments, SPURIOUS, generator=source)

    def environment(shortcut: Tensor) -> Environment:
        def draw(samples: int, source: Generator) -> tuple[Tensor, Tensor, Tensor]:
            labels = torch.arange(2).repeat_interleave(samples // 2).float()
            signs = (1 - 2 * labels)[:, None]
            stable = 0.1 * signs + 0.1 * torch.randn(samples, INVARIANT, generator=source)
            tempting = signs * shortcut + 0.1 * torch.randn(samples, SPURIOUS, generator=source)
            return stable, tempting, labels

        return draw

    return [environment(shortcut) for shortcut in shortcuts]


EXAMPLES: Mapping[str, tuple[Callable[[int, Generator], Sequence[Environment]], Kind]] = {
    "1": (cause_and_effect, "mse"),
    "2": (cows_and_camels, "bce"),
    "3": (small_margin, "bce"),
}
NAMES = (*EXAMPLES, *(f"{name}s" for name in EXAMPLES))


def _uniform(low: float, high: float, source: Generator) -> float:
    return low + (high - low) * torch.rand((), generator=source).item()


def _signs(share: float, samples: int, source: Generator) -> Tensor:
    """`(samples, 1)` of 1 with this probability, else -1."""
    return torch.where(torch.rand(samples, 1, generator=source) < share, 1.0, -1.0)


def _noise(samples: int, features: int, source: Generator) -> Tensor:
    return torch.randn(samples, features, generator=source) / math.sqrt(10)
