"""Whether a model's parts tell the environments that it was trained on, where they can be known.

Of noise its strength can be told, of erased vectors which modality is gone, of a partition the
environment of a sample. Of a swapped vector nothing can: it is a true vector of somebody else, and
no modality alone says whose sample it came with. There it is asked what moves when vectors are
swapped, see `swap_moves`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cmir.config import EnvironmentsConfig
from cmir.data import DevelopmentData
from cmir.evaluation.probes.ground_truth import VALIDATION
from cmir.evaluation.probes.readouts import Held, Measure, Readout, readouts
from cmir.evaluation.probes.representations import Parts, TrainedModel
from cmir.method.environments.partitions import Partitions, partition_of
from cmir.method.networks.replicas import draw_normal

# Of the training samples, whose environments alone are known, so many are scored on.
HELD_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked about.

    Attributes:
        model: whose parts are probed.
        data: that it was trained on.
        fit_on: positions `(n,)` in the training split that probes are fitted on.
        random: of what is disturbed.
        partitions: the folder where partitions of the data are kept; None: they are made anew.
    """

    model: TrainedModel
    data: DevelopmentData
    fit_on: np.ndarray
    random: np.random.Generator
    partitions: Path | None = None

    @cached_property
    def fitted(self) -> Parts:
        """The parts of the samples that probes are fitted on."""
        return self.model.parts(self.data, self.data.train.rows[self.fit_on])

    @property
    def held_rows(self) -> np.ndarray:
        """Rows of both validation splits."""
        return np.concatenate([self.data.splits[name].rows for name in VALIDATION])


def environment_readouts(asked: Asked, environments: EnvironmentsConfig) -> dict[str, Readout]:
    """What can be asked of a model that was trained on these environments.

    Returns:
        `strength` after noise, `erased` after erased vectors, `partition` with a partition.
    """
    found = {}
    question = QUESTIONS.get(environments.view)
    if question is not None and environments.views > 0:
        name, ask = question
        found[name] = ask(asked, environments)
    if environments.partition != "none":
        readout = partition_readout(asked, environments)
        found |= {} if readout is None else {"partition": readout}
    return found


def strength_readout(asked: Asked, environments: EnvironmentsConfig) -> Readout:
    """The strength alpha_e of the noise of Eq. 3, e = 0..K drawn for each sample, as often each."""
    levels = np.round(environments.noise_strength * np.arange(environments.views + 1), 12)
    rates = [environments.rate_of(name) for name in asked.model.network.sizes]

    def noisy(vectors: Tensor, chosen: np.ndarray, source: torch.Generator) -> Tensor:
        # One draw for all seeds: they are asked about the same disturbance.
        noise = draw_normal([source], vectors.shape[1:])
        strength = torch.tensor(rates).to(noise)[:, None] * torch.from_numpy(levels[chosen])
        return vectors + strength.to(noise)[..., None] * noise

    about = f"how much noise was added (0 to {levels[-1]:g}, in {len(levels)} steps)"
    return _disturbed(asked, noisy, levels, "r2", about)


def erased_readout(asked: Asked, environments: EnvironmentsConfig) -> Readout:
    """Which modality's vector was erased, or none of them, each as often."""
    names = ["none", *asked.model.network.sizes]

    def without(vectors: Tensor, chosen: np.ndarray, source: torch.Generator) -> Tensor:
        places = torch.from_numpy(chosen).to(vectors.device)
        numbers = torch.arange(1, len(names), device=vectors.device)
        return vectors * (numbers[:, None] != places)[..., None]

    return _disturbed(
        asked, without, np.arange(len(names)).astype(float), "accuracy", "which modality was erased"
    )


def partition_readout(asked: Asked, environments: EnvironmentsConfig) -> Readout | None:
    """The environment of a training sample, on training samples that probes were not fitted on."""
    scheme, count, settings = partition_of(environments)
    partitions = Partitions(asked.data, asked.partitions)
    groups = partitions.groups(scheme, count, settings)[asked.fit_on]
    held = asked.random.random(len(groups)) < HELD_SHARE
    if len(np.unique(groups[~held])) < 2 or not held.any():
        return None
    fitted, told = asked.fitted.of(~held), asked.fitted.of(held)
    scored = Held(f"which environment of the partition {scheme}", told, groups[held])
    return readouts(fitted, groups[~held], [scored], "accuracy")[0]


Disturb = Callable[[Tensor, np.ndarray, torch.Generator], Tensor]


def _disturbed(
    asked: Asked, disturb: Disturb, values: np.ndarray, measure: Measure, about: str
) -> Readout:
    """Each sample gets one of the values by chance; probes tell which."""
    fitted, wanted = _parts_after(asked, asked.data.train.rows[asked.fit_on], disturb, values)
    held, held_wanted = _parts_after(asked, asked.held_rows, disturb, values)
    return readouts(fitted, wanted, [Held(about, held, held_wanted)], measure)[0]


def _parts_after(
    asked: Asked, rows: np.ndarray, disturb: Disturb, values: np.ndarray
) -> tuple[Parts, np.ndarray]:
    chosen = asked.random.permutation(np.arange(len(rows)) % len(values))
    vectors = asked.model.vectors(asked.data, rows)
    source = torch.Generator(vectors.device).manual_seed(int(asked.random.integers(2**31)))
    return asked.model.encode(disturb(vectors, chosen, source)), values[chosen]


QUESTIONS: Mapping[str, tuple[str, Callable[[Asked, EnvironmentsConfig], Readout]]] = {
    "noise": ("strength", strength_readout),
    "erase": ("erased", erased_readout),
}
