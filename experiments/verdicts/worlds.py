"""Structural models in which none, one or two of three modalities are spurious; no two alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cmir.data.synthetic.generation import generate
from cmir.data.synthetic.structural_model import ModalitySpec

Kind = Literal["none", "one", "two"]
KINDS: tuple[Kind, ...] = ("none", "one", "two")
MODALITIES = ("text", "audio", "vision")
SIZES = (24, 32, 48, 64)
SILENT = 3.0


@dataclass(frozen=True)
class World:
    """A structural model and its truth.

    Attributes:
        kind: how many modalities are spurious.
        seed: of everything random.
        spurious: modalities with a link to the label that does not hold in `ood_val`.
        steady: modalities with a link that holds there as in training: they are not spurious.
        specs: how each modality observes.
        correlations: of the training environments.
        ood: correlation of `ood_val`.
        samples: of each split.
        speakers: of each environment.
    """

    kind: Kind
    seed: int
    spurious: tuple[str, ...]
    steady: tuple[str, ...]
    specs: dict[str, ModalitySpec]
    correlations: tuple[float, ...]
    ood: float
    samples: dict[str, int]
    speakers: int

    def write(self, folder: Path) -> Path:
        """The data set, without held-out splits."""
        return generate(
            folder,
            modalities=self.specs,
            samples=self.samples,
            correlations=self.correlations,
            ood_val_correlation=self.ood,
            ood_test_correlation=-0.9,
            speakers=self.speakers,
            seed=self.seed,
        )


def world(kind: Kind, seed: int) -> World:
    """The world of a kind and a seed.

    Drawn are: which modalities carry the spurious latents and how strongly (.8 to 2); the
    correlations of three training environments (the highest .8 to 1.2, the others .6 and .2 of
    it) and that of `ood_val` (-.4 to 0); sizes, samples, speakers, noise. In half of the worlds
    where none is spurious one or two modalities carry a link of .6 that holds everywhere. In a
    quarter of all worlds one modality that carries no link hardly shows anything.
    """
    random = np.random.default_rng([seed, KINDS.index(kind)])
    carriers, is_steady = _carriers(kind, random)
    silent = [name for name in MODALITIES if name not in carriers][:1]
    is_silent = bool(random.uniform() < 0.25)
    specs = {
        name: ModalitySpec(
            int(random.choice(SIZES)),
            spurious=float(random.uniform(0.8, 2.0)) if name in carriers else 0.0,
            latent_noise=SILENT if is_silent and name in silent else _noise(random),
        )
        for name in MODALITIES
    }
    top = float(random.uniform(0.8, 1.2))
    return World(
        kind=kind,
        seed=seed,
        spurious=() if is_steady else carriers,
        steady=carriers if is_steady else (),
        specs=specs,
        correlations=(0.6, 0.6, 0.6) if is_steady else (top, 0.6 * top, 0.2 * top),
        ood=0.6 if is_steady else float(random.uniform(-0.4, 0.0)),
        samples={
            "train": int(random.integers(1000, 2400)),
            "id_val": int(random.integers(300, 500)),
            "ood_val": int(random.integers(300, 500)),
        },
        speakers=int(random.integers(6, 13)),
    )


def _carriers(kind: Kind, random: np.random.Generator) -> tuple[tuple[str, ...], bool]:
    """Who carries the spurious latents, and whether their link holds everywhere."""
    is_steady = kind == "none" and bool(random.uniform() < 0.5)
    count = int(random.integers(1, 3)) if is_steady else KINDS.index(kind)
    chosen = random.choice(len(MODALITIES), count, replace=False)
    return tuple(MODALITIES[place] for place in sorted(chosen)), is_steady


def _noise(random: np.random.Generator) -> float:
    return float(random.uniform(0.3, 0.6))
