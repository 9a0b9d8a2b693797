"""A structural causal model of multimodal sentiment with one anti-causal, spurious latent vector.

`MODEL` has its equations. The label causes s, and rho_e differs by environment: what s says of the
label does not hold elsewhere, while what z says does (the anti-causal design of ColoredMNIST,
Arjovsky et al. 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cmir.data.synthetic.named_labels import NamedRule, draw_rule
from cmir.data.task import TaskKind
from cmir.errors import InputError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
LatentKind = Literal["causal", "spurious"]

MODEL = (
    "causal latents z ~ N(0, I); label y = w . z + noise; "
    "spurious latents s = rho_e y v + N(0, I), v of +-1; "
    "modality m: x_m = tanh(A_m ([z, c_m s] + noise) + b_m) + sensor noise"
)

LABEL_RANGE = (-3.0, 3.0)
# Sentiment of CMU-MOSI: standard deviation about 1.5, the mean of five whole-numbered ratings.
LABEL_SCALE = 1.5
LABEL_STEP = 0.2
ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class ModalitySpec:
    """How one modality observes the latents.

    Attributes:
        size: features D.
        steps: longest sequence T, or None for one vector each sample. Lengths vary from half of T
            to T.
        spurious: the strength c_m with which the spurious latents enter.
        latent_noise: standard deviation of what blurs the latents (themselves of about unit size)
            before mixing, once for each sample: no number of features or steps averages it out.
        sensor_noise: standard deviation of the noise of every feature at every step; without it
            features lie in [-1, 1].
    """

    size: int
    steps: int | None = None
    spurious: float = 0.0
    latent_noise: float = 0.4
    sensor_noise: float = 0.5

    def __post_init__(self) -> None:
        if self.size < 1 or (self.steps is not None and self.steps < 1):
            raise InputError(
                f"a modality: size and steps must be at least 1, but got {self.size=} and "
                f"{self.steps=}. A modality of vectors has steps=None."
            )
        if min(self.spurious, self.latent_noise, self.sensor_noise) < 0:
            raise InputError(f"a modality: strengths must not be negative, but got {self}.")


@dataclass(frozen=True, eq=False)
class LabelRule:
    """How the labels of N samples follow from their causal latents: y = w . z + noise.

    Attributes:
        weights: w `(causal_size,)`, the label's noise taken into account.
        noise: of each sample, `(N,)`: it stays with the sample under every intervention.
        task: "regression", labels in [-3, 3] in steps of .2, or "binary", labels 0 and 1.
    """

    weights: npt.NDArray[np.float64]
    noise: npt.NDArray[np.float64]
    task: TaskKind

    def labels(self, causal: FloatArray) -> npt.NDArray[np.float64]:
        """Labels `(N,)` of causal latents `(N, causal_size)`."""
        opinion = causal.astype(np.float64) @ self.weights + self.noise
        if self.task == "binary":
            return (opinion > 0).astype(np.float64)
        return (np.round(opinion * LABEL_SCALE / LABEL_STEP) * LABEL_STEP).clip(*LABEL_RANGE)

    def standardised(self, labels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Labels of about unit size: what the spurious latents are an effect of."""
        return 2 * labels - 1 if self.task == "binary" else labels / LABEL_SCALE


@dataclass(frozen=True, eq=False)
class Latents:
    """What nobody observes of N samples, and the labels that follow from it.

    Attributes:
        causal: z `(N, causal_size)` float32.
        spurious: s `(N, spurious_size)` float32.
        direction: v `(spurious_size,)` of +-1: along it s follows the label, across it s is noise;
            with names `(C, spurious_size)`, one for each.
        rule: of the labels.
    """

    causal: FloatArray
    spurious: FloatArray
    direction: npt.NDArray[np.float64]
    rule: LabelRule | NamedRule

    @property
    def labels(self) -> FloatArray:
        """`(N,)`, of several at once `(N, C)`, of the causal latents as they are here."""
        return self.rule.labels(self.causal).astype(np.float32)


def random_stream(seed: int, *purpose: str) -> np.random.Generator:
    """A generator of its own for each purpose: one modality more changes no other."""
    return np.random.default_rng([seed, *"/".join(purpose).encode()])


def draw_latents(
    correlations: npt.NDArray[np.float64],
    *,
    causal_size: int,
    spurious_size: int,
    label_noise: float,
    task: TaskKind,
    seed: int,
    shares: Sequence[float] = (),
) -> Latents:
    """Draw latents and labels of N samples.

    Args:
        correlations: `(N,)`, rho of each sample's environment.
        causal_size: number of causal latents, all with the same weight in the label.
        spurious_size: number of spurious latents; v is +-1 in each.
        label_noise: part of the label's variance that the causal latents do not explain, in
            [0, 1].
        task: "regression", labels in [-3, 3] in steps of .2, or "binary", labels 0 and 1.
        seed: of all draws.
        shares: of each name, where there are names: then each has a direction of z and one of s.
    """
    stream = random_stream(seed, "latents")
    causal = stream.standard_normal((len(correlations), causal_size)).astype(np.float32)
    if shares:
        own = random_stream(seed, "names")
        named = draw_rule(
            len(causal),
            shares=shares,
            causal_size=causal_size,
            label_noise=label_noise,
            task=task,
            stream=own,
        )
        directions = own.choice([-1.0, 1.0], (len(shares), spurious_size))
        followed = correlations[:, None] * named.standardised(named.labels(causal))
        cues = followed @ directions + own.standard_normal((len(causal), spurious_size))
        return Latents(causal, cues.astype(np.float32), directions, named)
    unexplained = stream.standard_normal(len(correlations))
    signs = stream.choice([-1.0, 1.0], causal_size)
    weights = np.sqrt(1 - label_noise) * signs / np.sqrt(causal_size)
    rule = LabelRule(weights, np.sqrt(label_noise) * unexplained, task)
    direction = stream.choice([-1.0, 1.0], spurious_size)
    spurious = np.outer(correlations * rule.standardised(rule.labels(causal)), direction)
    spurious += stream.standard_normal(spurious.shape)
    return Latents(causal, spurious.astype(np.float32), direction, rule)


def exchange(latents: Latents, kind: LatentKind, groups: IntArray, seed: int) -> Latents:
    """The intervention do(s) or do(z): one kind of latents exchanged among samples of one group.

    All else is held: the other kind, the noise of features and labels. So do(s) leaves every label
    as it is; under do(z) a label follows its new cause, while s keeps the value that it had.
    Either way z and s become independent within a group, and keep their distributions there.

    Args:
        latents: of N samples.
        kind: "spurious" for do(s), "causal" for do(z).
        groups: `(N,)`; where environments differ, a group must not mix them.
        seed: of the exchange.
    """
    stream = random_stream(seed, "intervention", kind)
    source = np.arange(len(groups))
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        source[rows] = stream.permutation(rows)
    if kind == "spurious":
        return replace(latents, spurious=latents.spurious[source])
    return replace(latents, causal=latents.causal[source])


def draw_lengths(name: str, steps: int, samples: int, seed: int) -> IntArray:
    """Valid steps of each sample `(N,)`, from half of `steps` to all of them."""
    stream = random_stream(seed, "lengths", name)
    return stream.integers((steps + 1) // 2, steps, samples, np.int64, endpoint=True)


def observe(
    name: str, spec: ModalitySpec, latents: Latents, lengths: IntArray | None, seed: int
) -> Iterator[npt.NDArray[np.floating[Any]]]:
    """What a modality shows of the latents, some hundred samples at a time.

    Args:
        name: of the modality; each has random streams of its own.
        spec: how it observes.
        latents: of N samples.
        lengths: `(N,)` valid steps of a sequence, None for vectors.
        seed: of mixing and noise.

    Yields:
        `(n, T, D)` float16, zero beyond a sample's length, or `(n, D)` float32.
    """
    seen = np.concatenate([latents.causal, np.float32(spec.spurious) * latents.spurious], axis=1)
    blur = random_stream(seed, "blur", name).standard_normal(seen.shape, np.float32)
    seen += np.float32(spec.latent_noise) * blur
    mixing, offsets = _mixing(name, spec, seen.shape[1], seed)
    # Of about unit size before tanh: some features saturate, most do not.
    clean = np.tanh(seen / np.sqrt(np.square(seen).sum(axis=1).mean()) @ mixing + offsets)
    stream = random_stream(seed, "sensor", name)
    for start in range(0, len(clean), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        if lengths is None or spec.steps is None:
            yield _with_noise(clean[rows], spec, stream)
        else:
            yield _sequences(clean[rows], lengths[rows], spec, spec.steps, stream)


def _mixing(
    name: str, spec: ModalitySpec, latents: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    stream = random_stream(seed, "mixing", name)
    mixing = stream.standard_normal((latents, spec.size), np.float32)
    return mixing, np.float32(0.5) * stream.standard_normal(spec.size, np.float32)


def _sequences(
    clean: FloatArray,
    lengths: IntArray,
    spec: ModalitySpec,
    steps: int,
    stream: np.random.Generator,
) -> npt.NDArray[np.float16]:
    valid = np.arange(steps) < lengths[:, np.newaxis]
    padded = np.zeros((*valid.shape, spec.size), np.float16)
    padded[valid] = _with_noise(np.repeat(clean, lengths, axis=0), spec, stream)
    return padded


def _with_noise(clean: FloatArray, spec: ModalitySpec, stream: np.random.Generator) -> FloatArray:
    noisy = stream.standard_normal(clean.shape, np.float32)
    noisy *= np.float32(spec.sensor_noise)
    noisy += clean
    return noisy
