"""The corruptions of a block of samples, in rising severity: noise, absence, swapping, delay.

All random numbers are drawn once for a block and serve every replica and every severity: curves are
smooth, and models are compared on the same corruption. `vectors` are the unimodal X_m, whose scale
each network learns for itself; `features` are the standardised inputs, where 0 is the training mean
and corruption means the same for every network. A sequence that the network pools is corrupted step
by step and pooled afterwards.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cmir.evaluation.robustness.corruption_inputs import Subject
from cmir.method.networks.features import Inputs

Where = Literal["vectors", "features"]

NOISE_RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
STEP_RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SWAP_RATES = (0.2, 0.4, 0.6, 0.8, 1.0)
DELAYS = (0.1, 0.2, 0.3, 0.4, 0.5)
ALL = "all"


@dataclass(frozen=True, eq=False)
class Corrupted:
    """A block of samples under one corruption.

    Attributes:
        where: what was corrupted.
        modality: the corrupted one; `a+b` for two; `all`.
        severity: above 0, the clean state; its meaning depends on the corruption.
        vectors: the X_m that come of it, `(replica, modality, n, d)`.
    """

    where: Where
    modality: str
    severity: float
    vectors: Tensor


def gaussian(subject: Subject) -> Iterator[Corrupted]:
    """X' = (1 - NR) X + NR eps on every modality, eps ~ N(0, I), severity NR (Eq. 14)."""
    noise = gaussian_noise(subject)
    for rate in NOISE_RATES:
        yield Corrupted("vectors", ALL, rate, blend(subject.vectors, noise, rate))
    given = subject.inputs
    drawn = {name: _normal(subject, name, one.values[:1]) for name, one in given.items()}
    for rate in NOISE_RATES:
        values = {name: blend(one.values, drawn[name], rate) for name, one in given.items()}
        yield Corrupted("features", ALL, rate, subject.replaced(_vectors(subject, values)))


def unseen(subject: Subject) -> Iterator[Corrupted]:
    """Each sample with probability 1/2 Laplace noise by Eq. 14, else feature dropout (App. F).

    Severity is NR, which is the rate of the dropout too. The Laplace noise has variance 1, like the
    Gaussian: the paper does not say, and so it differs in shape and not in strength.
    """
    coin = _uniform(subject, "unseen kind", subject.vectors[0, 0, :, 0]) < 0.5
    noise = _Unseen.drawn(subject, "vectors", subject.vectors[0], coin[:, None])
    for rate in NOISE_RATES:
        yield Corrupted("vectors", ALL, rate, noise.on(subject.vectors, rate))
    by_name = {
        name: _Unseen.drawn(
            subject, name, one.values[:1], coin.view(1, -1, *[1] * (one.values.ndim - 2))
        )
        for name, one in subject.inputs.items()
    }
    for rate in NOISE_RATES:
        values = {name: by_name[name].on(one.values, rate) for name, one in subject.inputs.items()}
        yield Corrupted("features", ALL, rate, subject.replaced(_vectors(subject, values)))


def missing_modality(subject: Subject) -> Iterator[Corrupted]:
    """A modality, or two, of every sample are 0: as X_m, or as features (the training mean).

    Severity 1 is one modality, 2 are two. Something is always left: with two modalities there are
    no pairs, with one there is nothing to miss.
    """
    nothing = {name: torch.zeros_like(one.values) for name, one in subject.inputs.items()}
    zeros: dict[Where, dict[str, Tensor]] = {
        "vectors": dict.fromkeys(subject.names, torch.zeros_like(subject.vectors[:, 0])),
        "features": _vectors(subject, nothing),
    }
    singles_and_pairs = [
        names
        for number in (1, 2)
        if number < len(subject.names)
        for names in itertools.combinations(subject.names, number)
    ]
    for where, absent in zeros.items():
        for names in singles_and_pairs:
            vectors = subject.replaced({name: absent[name] for name in names})
            yield Corrupted(where, "+".join(names), float(len(names)), vectors)


def missing_steps(subject: Subject) -> Iterator[Corrupted]:
    """Steps of a sequence are 0, each with a probability that is the severity.

    The length stays as it is, as in the random missing of Yuan et al. 2021 (TFR-Net). Of each
    sequence alone, and of all of them.
    """
    sequences = _sequences(subject)
    draws = {
        name: _uniform(subject, f"steps of {name}", one.values[:1, ..., :1])
        for name, one in sequences.items()
    }
    for rate in STEP_RATES:
        values = {name: one.values * (draws[name] >= rate) for name, one in sequences.items()}
        changed = _vectors(subject, values)
        for name, vector in changed.items():
            yield Corrupted("features", name, rate, subject.replaced({name: vector}))
        if len(changed) > 1:
            yield Corrupted("features", ALL, rate, subject.replaced(changed))


def swapped(subject: Subject) -> Iterator[Corrupted]:
    """A modality comes from another sample, do(X_m = x'), with a probability that is the severity.

    The others are dealt out by a cyclic order, so that at severity 1 every sample gives its
    modality once: its distribution stays, its link with the label is gone.
    """
    size = subject.vectors.shape[2]
    if size < 2:
        return
    for place, name in enumerate(subject.names):
        source = subject.source(f"partners of {name}")
        order = torch.randperm(size, generator=source)
        partner = torch.empty_like(order)
        partner[order] = order.roll(1)
        draw = torch.rand(size, generator=source)
        for rate in SWAP_RATES:
            taken = torch.where(draw < rate, partner, torch.arange(size))
            vector = subject.vectors[:, place, taken.to(subject.vectors.device)]
            yield Corrupted("vectors", name, rate, subject.replaced({name: vector}))


def delayed(subject: Subject) -> Iterator[Corrupted]:
    """A sequence comes late by a share of its length, the severity: X'_t = X_(t - lag).

    The first steps are 0, the last are lost. A network that averages over time sees the loss alone.
    """
    for name, one in _sequences(subject).items():
        for share in DELAYS:
            vector = subject.vector(name, delay(one, share))
            yield Corrupted("features", name, share, subject.replaced({name: vector}))


CORRUPTIONS: Mapping[str, Callable[[Subject], Iterator[Corrupted]]] = {
    "gaussian": gaussian,
    "unseen": unseen,
    "missing_modality": missing_modality,
    "missing_steps": missing_steps,
    "swapped": swapped,
    "delayed": delayed,
}


def gaussian_noise(subject: Subject) -> Tensor:
    """eps ~ N(0, I) for the unimodal vectors of a block, `(modality, n, d)`."""
    return _normal(subject, "vectors", subject.vectors[0])


def blend(values: Tensor, noise: Tensor, rate: float | Tensor) -> Tensor:
    """(1 - NR) X + NR noise (Eq. 14)."""
    return (1 - rate) * values + rate * noise


def delay(inputs: Inputs, share: float) -> Inputs:
    """Moves each sequence `(1, n, T, D)` by the rounded share of its own length, lengths kept."""
    assert inputs.mask is not None
    lag = (share * inputs.mask.sum(2, keepdim=True)).round().long()
    origin = torch.arange(inputs.values.shape[2], device=lag.device) - lag
    moved = inputs.values.gather(2, origin.clamp(min=0)[..., None].expand_as(inputs.values))
    return _with(inputs, moved * (origin >= 0)[..., None])


@dataclass(frozen=True, eq=False)
class _Unseen:
    """Laplace noise and uniform numbers like the values, and which samples get which."""

    laplace: Tensor
    uniform: Tensor
    is_laplace: Tensor

    @classmethod
    def drawn(cls, subject: Subject, name: str, like: Tensor, is_laplace: Tensor) -> _Unseen:
        centred = _uniform(subject, f"laplace of {name}", like) - 0.5
        # The inverse of the distribution function; a scale of sqrt(1/2) gives a variance of 1.
        laplace = -(0.5**0.5) * centred.sign() * torch.log1p(-2 * centred.abs())
        return cls(laplace, _uniform(subject, f"dropout of {name}", like), is_laplace)

    def on(self, values: Tensor, rate: float) -> Tensor:
        noisy = blend(values, self.laplace, rate)
        return torch.where(self.is_laplace, noisy, values * (self.uniform >= rate))


def _vectors(subject: Subject, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """X_m of the modalities whose inputs have other values, `(replica, n, d)` each."""
    return {
        name: subject.vector(name, _with(subject.inputs[name], changed))
        for name, changed in values.items()
    }


def _with(inputs: Inputs, values: Tensor) -> Inputs:
    """Other values; steps beyond a sequence's end stay zero."""
    return Inputs(values if inputs.mask is None else values * inputs.mask[..., None], inputs.mask)


def _sequences(subject: Subject) -> dict[str, Inputs]:
    return {name: one for name, one in subject.inputs.items() if one.mask is not None}


def _normal(subject: Subject, name: str, like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=subject.source(f"normal {name}")).to(like)


def _uniform(subject: Subject, purpose: str, like: Tensor) -> Tensor:
    return torch.rand(like.shape, generator=subject.source(purpose)).to(like)
