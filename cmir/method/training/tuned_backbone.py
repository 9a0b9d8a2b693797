"""A language model in training, as one modality's features of a stack of one replica."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from cmir.config import DEFAULT_BACKBONE_LEARNING_RATE, TrainingConfig
from cmir.data.row_blocks import IntArray
from cmir.method.language.token_vectors import token_vectors
from cmir.method.language.tokens import Tokens
from cmir.method.networks.features import Inputs
from cmir.method.networks.replicas import BACKBONE, generator
from cmir.method.training.optimiser import WINDOW

EVALUATED_AT_ONCE = 64


@dataclass(frozen=True)
class _Part:
    """Some texts of a batch, and the state of dropout with which the model ran on them."""

    rows: IntArray
    seed: int


class TunedBackbone:
    """Gathers the vectors of a batch's texts, and carries their gradient into the model.

    The vectors end the graph of the loss; `step` takes the gradient by them and runs it back
    through the model, for `backbone_batch_size` texts at a time (gradient caching, Gao et al.
    2021). So the loss sees the whole batch whatever fits in memory. Plain gradient accumulation
    would change it: Eq. 5, swapped views and penalties compare the samples of a batch.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tokens: Tokens,
        is_pooled: bool,
        training: TrainingConfig,
        seed: int,
        device: torch.device,
    ) -> None:
        """Takes over `model`; `is_pooled` gives time means instead of sequences."""
        self._tokens, self._is_pooled, self._device = tokens, is_pooled, device
        self._part_size = training.backbone_batch_size
        self._clip = training.gradient_clip
        self._precision = torch.bfloat16 if device.type == "cuda" else torch.float32
        self._dropout = generator(seed, BACKBONE, "cpu")
        self._model = model.train()
        averages = training.averaging == "polynomial"
        self._average = AveragedModel(model, multi_avg_fn=_polynomial) if averages else None
        self._optimiser = torch.optim.AdamW(_groups(model, training), fused=True)
        self._parts: list[_Part] = []
        self._graph: Tensor | None = None
        self.vectors = torch.empty(0)
        self.keep()

    def gather(self, rows: Tensor) -> Inputs:
        """Texts `(1, batch)` to `(1, batch, D)`, or `(1, batch, T, D)` with their mask.

        With gradients enabled the model is in training and remembers the batch for `step`; else
        the average of its weights is evaluated, as for the network's own.
        """
        chosen = rows[0].cpu().numpy()
        lengths = torch.from_numpy(self._tokens.lengths[chosen])
        vectors = self._train(chosen) if torch.is_grad_enabled() else self._evaluate(chosen)
        if self._is_pooled:
            return Inputs(vectors[None])
        mask = torch.arange(vectors.shape[1]) < lengths[:, None]
        return Inputs(vectors[None], mask[None].to(self._device))

    def step(self, slope: Tensor) -> None:
        """Follows the gradient by the vectors of the last batch, clipped by its own norm."""
        if self._graph is not None:
            torch.autograd.backward(self._graph, slope)
            self._graph = None
        else:
            pieces = torch.split(slope, [len(part.rows) for part in self._parts])
            for part, piece in zip(self._parts, pieces, strict=True):
                vectors = self._run(part)
                # A part of sequences has the steps of its own longest text, the batch of its.
                torch.autograd.backward(vectors, piece[:, : vectors.shape[1]])
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)
        self._optimiser.step()
        self._optimiser.zero_grad()
        if self._average is not None:
            self._average.update_parameters(self._model)

    def forget(self) -> None:
        """Forgets the optimiser's moments, as `StackedAdamW.reset` does."""
        self._optimiser.state.clear()

    def keep(self) -> None:
        """Remembers the evaluated weights, as those of the best epoch so far."""
        state = self._evaluated.state_dict()
        self.kept = {name: value.detach().cpu().clone() for name, value in state.items()}

    def restore(self) -> None:
        """Evaluates the weights that `keep` remembered; training is over."""
        self._evaluated.load_state_dict(self.kept)

    def move(self, device: torch.device) -> None:
        """Takes the model and its optimiser's state to a device, so that others find room."""
        self._model.to(device)
        if self._average is not None:
            self._average.to(device)
        for state in self._optimiser.state.values():
            state.update({name: value.to(device) for name, value in state.items()})

    @property
    def _evaluated(self) -> torch.nn.Module:
        return self._model if self._average is None else self._average.module

    def _train(self, rows: IntArray) -> Tensor:
        self._model.train()
        parts = np.split(rows, range(self._part_size or len(rows), len(rows), self._part_size or 1))
        self._parts = [_Part(part, self._next_seed()) for part in parts]
        if len(self._parts) == 1:
            self._graph = self._run(self._parts[0])
            self.vectors = self._graph.detach().requires_grad_()
        else:
            with torch.no_grad():
                self.vectors = torch.cat(self._alike([self._run(part) for part in self._parts]))
            self.vectors.requires_grad_()
        return self.vectors

    def _evaluate(self, rows: IntArray) -> Tensor:
        model = self._evaluated.eval()
        # Of like length together: an epoch evaluates many more texts than a batch has.
        order = np.argsort(self._tokens.lengths[rows], kind="stable")
        parts = np.split(rows[order], range(EVALUATED_AT_ONCE, len(rows), EVALUATED_AT_ONCE))
        found = torch.cat(self._alike([self._vectors(model, part) for part in parts]))
        return found[torch.from_numpy(np.argsort(order)).to(self._device)]

    def _run(self, part: _Part) -> Tensor:
        """The vectors of a part; the same part twice gives the same ones, dropout included."""
        own = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=own):
            torch.manual_seed(part.seed)
            return self._vectors(self._model, part.rows)

    def _vectors(self, model: torch.nn.Module, rows: IntArray) -> Tensor:
        vectors = token_vectors(model, self._tokens, rows, self._device, self._precision)
        if not self._is_pooled:
            return vectors
        lengths = torch.from_numpy(self._tokens.lengths[rows]).to(self._device)
        return vectors.sum(1) / lengths[:, None]

    def _alike(self, parts: Sequence[Tensor]) -> list[Tensor]:
        if self._is_pooled:
            return list(parts)
        steps = max(part.shape[1] for part in parts)
        return [functional.pad(part, (0, 0, 0, steps - part.shape[1])) for part in parts]

    def _next_seed(self) -> int:
        return int(torch.randint(2**62, (), generator=self._dropout))


def _polynomial(averages: Sequence[Tensor], new: Sequence[Tensor], count: Tensor | int) -> None:
    """The average that `StackedAdamW` keeps; `count` averages were taken before."""
    share = (WINDOW + 1) / (int(count) + 1 + WINDOW)
    for average, value in zip(averages, new, strict=True):
        average.lerp_(value, share)


def _groups(model: torch.nn.Module, training: TrainingConfig) -> list[dict[str, object]]:
    """Decay for matrices alone: biases and the scales of normalisations are left in peace."""
    rate = training.backbone_learning_rate or DEFAULT_BACKBONE_LEARNING_RATE
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "lr": rate, "weight_decay": training.weight_decay},
        {"params": others, "lr": rate, "weight_decay": 0.0},
    ]
