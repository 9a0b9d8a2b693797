"""How a synthetic data set is drawn: the arguments, and the rows and latents they lead to.

One seed stands for everything random, so that a design can be drawn again, with the same noise,
after an intervention on its latents.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data.manifest import SPLITS
from cmir.data.synthetic.named_labels import check_shares
from cmir.data.synthetic.structural_model import (
    LABEL_RANGE,
    FloatArray,
    IntArray,
    LatentKind,
    Latents,
    ModalitySpec,
    draw_latents,
    draw_lengths,
    exchange,
    observe,
)
from cmir.data.task import Task, TaskKind
from cmir.errors import InputError

GROUND_TRUTH_ARRAYS = "ground_truth.npz"
GROUND_TRUTH = "ground_truth.json"

Features = Iterator[npt.NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class Design:
    """The arguments of `cmir.data.synthetic.generate`, checked: all else follows from them."""

    modalities: dict[str, ModalitySpec]
    samples: dict[str, int]
    correlations: tuple[float, ...]
    ood_val_correlation: float
    ood_test_correlation: float
    speakers: int
    causal_size: int
    spurious_size: int
    label_noise: float
    task: TaskKind
    name: str
    seed: int
    label_range: tuple[float, float] = LABEL_RANGE
    names: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for key in ("speakers", "causal_size", "spurious_size"):
            if getattr(self, key) < 1:
                raise InputError(f"{key}: must be at least 1, but got {getattr(self, key)}.")
        if self.seed < 0:
            raise InputError(f"seed: must not be negative, but got {self.seed}.")
        if not 0 <= self.label_noise <= 1:
            raise InputError(
                f"label_noise: must be a part of the variance in [0, 1], but got "
                f"{self.label_noise}."
            )
        low, high = self.label_range
        if not -math.inf < low < high < math.inf:
            raise InputError(f"label_range: must be [low, high], but got [{low:g}, {high:g}].")
        if self.learned.is_named:
            check_shares(self.shares, self.names, self.task)
        self._check_samples()
        self._check_correlations()

    @property
    def learned(self) -> Task:
        """What is learned.

        Raises:
            InputError: names that do not fit the kind.
        """
        return Task(self.task, self.label_range if self.task == "regression" else None, self.names)

    def _check_samples(self) -> None:
        unknown = sorted(set(self.samples) - set(SPLITS))
        if unknown:
            raise InputError(
                f"samples: splits must be of {', '.join(SPLITS)}, but got {', '.join(unknown)}."
            )
        for split, count in self.samples.items():
            if count < 1:
                raise InputError(
                    f"samples: {split} must have at least 1 sample, but got {count}. Leave out a "
                    "held-out split that is not wanted."
                )

    def _check_correlations(self) -> None:
        if not self.correlations:
            raise InputError("correlations: must name at least one training environment.")
        if self.ood_val_correlation == self.ood_test_correlation:
            raise InputError(
                "ood_val_correlation: must differ from ood_test_correlation, but both are "
                f"{self.ood_val_correlation}: to select on ood_val would be to select on the test."
            )

    def environments(self, split: str) -> list[int]:
        """Numbers of the environments a split is drawn from."""
        training = len(self.correlations)
        return {"ood_val": [training], "ood_test": [training + 1]}.get(split, [*range(training)])

    @property
    def named_correlations(self) -> dict[str, float]:
        """Environment -> rho, in the order of their numbers."""
        training = {f"train_{i}": rho for i, rho in enumerate(self.correlations)}
        ood = {"ood_val": self.ood_val_correlation, "ood_test": self.ood_test_correlation}
        return training | ood

    def table(self) -> pl.DataFrame:
        """One row per sample: id, split, environment and its number, speaker, lengths."""
        parts = [_split_table(self, split) for split in SPLITS if split in self.samples]
        table = pl.concat(parts)
        lengths = {
            f"{name}_length": draw_lengths(name, spec.steps, table.height, self.seed)
            for name, spec in sorted(self.modalities.items())
            if spec.steps is not None
        }
        return table.with_columns(pl.Series(key, values) for key, values in lengths.items())

    def latents(self, table: pl.DataFrame) -> Latents:
        """The latents of the rows of `table()`, as nature draws them."""
        rho = np.array(list(self.named_correlations.values()))
        return draw_latents(
            rho[environment_numbers(table)],
            causal_size=self.causal_size,
            spurious_size=self.spurious_size,
            label_noise=self.label_noise,
            task=self.task,
            seed=self.seed,
            shares=self.shares,
        )

    def scaled(self, labels: FloatArray) -> FloatArray:
        """Labels `(N,)` as nature draws them, on the scale that was asked for."""
        if self.task != "regression" or self.label_range == LABEL_RANGE:
            return labels
        (low, high), (lowest, highest) = self.label_range, LABEL_RANGE
        return low + (labels - lowest) * np.float32((high - low) / (highest - lowest))

    def observe(self, name: str, table: pl.DataFrame, latents: Latents) -> Features:
        """What a modality shows of the latents, block by block; see `structural_model.observe`."""
        spec = self.modalities[name]
        lengths = None if spec.steps is None else table[f"{name}_length"].to_numpy()
        return observe(name, spec, latents, lengths, self.seed)


def environment_numbers(table: pl.DataFrame) -> IntArray:
    """Number of each row's environment, `(N,)`."""
    return table["environment_number"].to_numpy().astype(np.int64)


def stored_latents(folder: Path, design: Design, table: pl.DataFrame) -> Latents:
    """The latents that a folder's features show: as drawn, or as an intervention left them."""
    with np.load(folder / GROUND_TRUTH_ARRAYS) as arrays:
        causal, spurious = arrays["causal"], arrays["spurious"]
    return replace(design.latents(table), causal=causal, spurious=spurious)


def exchanged(latents: Latents, kind: LatentKind, table: pl.DataFrame, seed: int) -> Latents:
    """The intervention of `structural_model.exchange` within each environment of each split.

    No latent crosses from one split to another: what becomes of the development splits does not
    depend on held-out samples.
    """
    groups = table.select(pl.struct("split", "environment_number").rank("dense")).to_series()
    return exchange(latents, kind, groups.to_numpy().astype(np.int64), seed)


def read_design(folder: Path) -> Design:
    """The design of a folder that `cmir.data.synthetic.generate` wrote.

    Raises:
        InputError: there is no ground truth.
    """
    file = folder / GROUND_TRUTH
    if not file.is_file():
        raise InputError(
            f"{file}: must be there to know how the data was drawn, but is not. Only a folder that "
            "cmir.data.synthetic.generation.generate wrote has it."
        )
    arguments = json.loads(file.read_text(encoding="utf-8"))["arguments"]
    # Folders written before there were other scales name none.
    for key in {"correlations", "label_range", "names", "shares"} & set(arguments):
        arguments[key] = tuple(arguments[key])
    specs = {key: ModalitySpec(**spec) for key, spec in arguments.pop("modalities").items()}
    return Design(modalities=specs, **arguments)


def _split_table(design: Design, split: str) -> pl.DataFrame:
    names, numbers = list(design.named_correlations), design.environments(split)
    rows = range(design.samples[split])
    environments = [numbers[row % len(numbers)] for row in rows]
    # Each environment's own samples are dealt to its speakers in turn.
    voices = [row // len(numbers) % design.speakers for row in rows]
    speakers = [
        f"{names[number]}_speaker_{voice}"
        for number, voice in zip(environments, voices, strict=True)
    ]
    return pl.DataFrame(
        {
            "id": [f"{split}_{row:05d}" for row in rows],
            "split": [split] * len(rows),
            "environment_number": environments,
            "environment": [names[number] for number in environments],
            "speaker": speakers,
            # As in the field's files: one video of each speaker.
            "video": [name.replace("speaker", "video") for name in speakers],
        }
    )
