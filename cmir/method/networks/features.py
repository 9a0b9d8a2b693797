"""Standardised features on the device, ready to be gathered by sample.

Vectors and pooled sequences are standardised once and stay resident. Sequences on the CPU stay
memory-mapped, so that all trials of a node share one copy, and are standardised after gathering.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from cmir.config import ModelConfig, UnimodalKind
from cmir.errors import InputError
from cmir.extensions import UNIMODAL

if TYPE_CHECKING:  # A registered version ships this file, and no data set.
    from cmir.data import DevelopmentData, HeldoutData, Modality

LANGUAGE = ("text", "language", "words")


@dataclass(frozen=True)
class Inputs:
    """One modality of a batch: `values` is `(replica, batch, D)` or `(replica, batch, T, D)`.

    `mask` is `(replica, batch, T)`, True where a step is valid; None for vectors.
    """

    values: Tensor
    mask: Tensor | None = None


class Feature(Protocol):
    """One modality of all samples."""

    def gather(self, rows: Tensor) -> Inputs:
        """Samples `(replica, batch)` to their inputs."""


@dataclass(frozen=True)
class Vectors:
    """A modality as one standardised vector per sample: `(N, D)` float32 on the device."""

    values: Tensor

    def gather(self, rows: Tensor) -> Inputs:
        """Samples `(replica, batch)` to inputs `(replica, batch, D)`."""
        return Inputs(self.values[rows])


@dataclass(frozen=True)
class Sequences:
    """A modality as sequences `(N, T, D)`, standardised when gathered; steps beyond are zero."""

    values: Tensor
    lengths: Tensor
    mean: Tensor
    std: Tensor

    @property
    def steps(self) -> int:
        """Steps T of the longest sequence."""
        return self.values.shape[1]

    def gather(self, rows: Tensor) -> Inputs:
        """Samples `(replica, batch)` to inputs `(replica, batch, T, D)` with their mask."""
        steps = torch.arange(self.values.shape[1], device=rows.device)
        mask = steps < self.lengths[rows][..., None]
        gathered = self.values[rows.to(self.values.device)].to(self.mean.device)
        standard = (gathered.float() - self.mean) / self.std
        return Inputs(torch.where(mask[..., None], standard, 0.0), mask)


Features = Mapping[str, Feature]


def used_modalities(data: DevelopmentData | HeldoutData, config: ModelConfig) -> tuple[str, ...]:
    """Names of the modalities that a model sees, in the data's order, fused streams among them.

    Raises:
        InputError: a configured modality that the data set does not have.
    """
    named = (*config.modalities, *config.unimodal, *config.fuse, *config.fuse.values())
    for name in (*named, *config.backbone):
        if name not in data.modalities:
            raise InputError(
                f"model: the data set '{data.name}' has the modalities "
                f"{', '.join(data.modalities)}, but the configuration names '{name}'."
            )
    chosen = config.modalities or tuple(data.modalities)
    return tuple(name for name in data.modalities if config.fuse.get(name, name) in chosen)


def unimodal_kind(modality: Modality, config: ModelConfig) -> UnimodalKind:
    """The network of a modality: as configured, else by shape.

    Vectors get an `mlp`, language sequences `pool` (linear and time mean), other sequences
    `transformer` (Mai and Han 2026, Eq. 10-11). What a language model of the configuration gives
    are language sequences, whatever the data set holds in their place.

    Raises:
        InputError: a sequence network for vectors, or one of vectors for sequences.
    """
    default: UnimodalKind = "transformer"
    is_vector = modality.steps is None and modality.name not in config.backbone
    if is_vector:
        default = "mlp"
    elif modality.name in LANGUAGE or modality.name in config.backbone:
        default = "pool"
    kind = config.unimodal.get(modality.name, default)
    if reads_vectors(kind) != is_vector:
        shape = "vectors (N, D)" if is_vector else "sequences (N, T, D)"
        allowed = " or ".join(one for one in UNIMODAL if reads_vectors(one) == is_vector)
        raise InputError(
            f"model.unimodal.{modality.name} must be {allowed} for {shape}, but got '{kind}'."
        )
    return kind


def reads_vectors(kind: UnimodalKind) -> bool:
    """Whether a network takes features without steps."""
    return UNIMODAL[kind].reads == "vectors"


def reads_steps(kind: UnimodalKind) -> bool:
    """Whether a network takes every step of a sequence, and its mask."""
    return UNIMODAL[kind].reads == "steps"


def input_kinds(
    data: DevelopmentData | HeldoutData, config: ModelConfig
) -> dict[str, UnimodalKind]:
    """The network that each modality enters: its own, or that of the one it is fused into.

    A stream that is fused into a network of vectors or means is a vector or a mean itself, however
    many steps it has; into one of sequences it goes step by step.

    Raises:
        InputError: a network that does not fit a modality's shape, or streams whose steps are not
            those of the modality that they are fused into.
    """
    return {name: _input_kind(name, data, config) for name in used_modalities(data, config)}


def _input_kind(
    name: str, data: DevelopmentData | HeldoutData, config: ModelConfig
) -> UnimodalKind:
    modality = data.modalities[name]
    if name not in config.fuse:
        return unimodal_kind(modality, config)
    target = data.modalities[config.fuse[name]]
    kind = unimodal_kind(target, config)
    if not reads_steps(kind):
        return "mlp" if modality.steps is None else "pool"
    has_other_steps = target.name in config.backbone or modality.steps != target.steps
    if has_other_steps or not np.array_equal(
        np.asarray(modality.lengths), np.asarray(target.lengths)
    ):
        raise InputError(
            f"model.fuse.{name}: must have the steps of {target.name}, of every sample, to be "
            f"fused into its network '{kind}', but has others. Use model.unimodal.{target.name}: "
            "pool, which fuses their means."
        )
    return kind


def load_features(
    data: DevelopmentData | HeldoutData, config: ModelConfig, device: torch.device
) -> dict[str, Feature]:
    """The features that a configuration needs, by modality name, on the device.

    Those of a language model in training are not among them: they are not in the data set.
    """
    return {
        name: _load(data.modalities[name], kind, device)
        for name, kind in input_kinds(data, config).items()
        if name not in config.backbone
    }


def load_steps(
    data: DevelopmentData | HeldoutData, names: Iterable[str], device: torch.device
) -> dict[str, Vectors | Sequences]:
    """The named features on the device; sequences that a network pools keep their steps."""
    chosen = {name: data.modalities[name] for name in names}
    return {
        name: _load(modality, "mlp" if modality.steps is None else "transformer", device)
        for name, modality in chosen.items()
    }


def pooled_features(data: DevelopmentData, rows: np.ndarray) -> np.ndarray:
    """Standardised time means of all modalities side by side, `(n, sum of D)` float32."""
    columns = []
    for modality in data.modalities.values():
        raw = modality.array if modality.pooled is None else modality.pooled
        columns.append((raw[rows].astype(np.float32) - modality.mean) / modality.std)
    return np.concatenate(columns, axis=1)


def _load(modality: Modality, kind: UnimodalKind, device: torch.device) -> Vectors | Sequences:
    mean, std = torch.from_numpy(modality.mean), torch.from_numpy(modality.std)
    if reads_steps(kind):
        assert modality.lengths is not None
        shared = _without_copy(modality.array)
        values = shared if device.type == "cpu" else shared.to(device)
        lengths = torch.from_numpy(np.asarray(modality.lengths, dtype=np.int64))
        return Sequences(values, lengths.to(device), mean.to(device), std.to(device))
    raw = modality.array if modality.pooled is None else modality.pooled
    standard = (torch.from_numpy(np.array(raw, dtype=np.float32)) - mean) / std
    return Vectors(standard.to(device))


def _without_copy(array: np.ndarray) -> Tensor:
    """A tensor over a read-only memory map; nothing here ever writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
