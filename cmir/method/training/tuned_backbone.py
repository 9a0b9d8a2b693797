"""A language model in training, as one modality's features of a stack of one replica."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cmir.config import TrainingConfig
from cmir.data.row_blocks import IntArray
from cmir.method.language.pretrained.tuned_part import restore, sharing_copy, trained_weights
from cmir.method.language.text_sources import TextSource
from cmir.method.networks.features import Inputs
from cmir.method.networks.replicas import BACKBONE, generator
from cmir.method.training.optimiser import WINDOW

EVALUATED_AT_ONCE = 64
# Texts of like length that pass a model together on a CPU, where nothing is gained by more: in a
# batch of 48 the longest text has several times the tokens of the others, and all are padded to it.
TRAINED_AT_ONCE = 16


@dataclass(frozen=True)
class _Part:
    """Some texts of a batch, and the state of dropout with which the model ran on them."""

    texts: IntArray
    seed: int


@dataclass(frozen=True)
class _Batch:
    """The texts of a batch, each once, longest first, and where each sample finds its own."""

    texts: IntArray
    places: IntArray


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
        texts: TextSource,
        is_pooled: bool,
        training: TrainingConfig,
        seed: int,
        device: torch.device,
    ) -> None:
        """Takes over `model`, whose weights are trained where they require a gradient.

        `is_pooled` gives time means instead of sequences.
        """
        self._texts, self._is_pooled, self._device = texts, is_pooled, device
        self._held = training.backbone_batch_size
        self._clip = training.gradient_clip
        self._precision = torch.bfloat16 if device.type == "cuda" else torch.float32
        self._dropout = generator(seed, BACKBONE, "cpu")
        self._model = model.train()
        self._trained = list(trained_weights(model).values())
        averages = training.averaging == "polynomial"
        self._average = sharing_copy(model) if averages else None
        self._steps = 0
        self._optimiser = torch.optim.AdamW(_groups(self._trained, training), fused=True)
        self._parts: list[_Part] = []
        self._batch = _Batch(np.empty(0, np.int64), np.empty(0, np.int64))
        self._graph: Tensor | None = None
        self.vectors = torch.empty(0)
        self.keep()

    def gather(self, rows: Tensor) -> Inputs:
        """Texts `(1, batch)` to `(1, batch, D)`, or `(1, batch, T, D)` with their mask.

        With gradients enabled the model is in training and remembers the batch for `step`; else
        the average of its weights is evaluated, as for the network's own.
        """
        texts = self._texts.of_sample[rows[0].cpu().numpy()]
        vectors = self._train(texts) if torch.is_grad_enabled() else self._evaluate(texts)
        if self._is_pooled:
            return Inputs(vectors[None])
        lengths = torch.from_numpy(self._texts.lengths[texts])
        mask = torch.arange(vectors.shape[1]) < lengths[:, None]
        return Inputs(vectors[None], mask[None].to(self._device))

    def step(self, slope: Tensor) -> None:
        """Follows the gradient by the vectors of the last batch, clipped by its own norm."""
        if self._graph is not None:
            torch.autograd.backward(self._graph, slope)
            self._graph = None
        else:
            places = torch.from_numpy(self._batch.places).to(self._device)
            shape = (len(self._batch.texts), *slope.shape[1:])
            by_text = slope.new_zeros(shape).index_add_(0, places, slope)
            pieces = torch.split(by_text, [len(part.texts) for part in self._parts])
            for part, piece in zip(self._parts, pieces, strict=True):
                vectors = self._run(part)
                # A part of sequences has the steps of its own longest text, the batch of its.
                torch.autograd.backward(vectors, piece[:, : vectors.shape[1]])
        torch.nn.utils.clip_grad_norm_(self._trained, self._clip)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._follow_average()

    def forget(self) -> None:
        """Forgets the optimiser's moments, as `StackedAdamW.reset` does."""
        self._optimiser.state.clear()

    def keep(self) -> None:
        """Remembers the evaluated weights that are trained, as those of the best epoch so far."""
        state = trained_weights(self._evaluated)
        self.kept = {name: value.detach().to("cpu", copy=True) for name, value in state.items()}

    def restore(self) -> None:
        """Evaluates the weights that `keep` remembered; training is over."""
        restore(self._evaluated, self.kept)

    def state(self) -> dict[str, Any]:
        """What `resume` goes on from; it shares memory with the model."""
        average = None if self._average is None else trained_weights(self._average)
        return {
            "trained": _values(trained_weights(self._model)),
            "average": None if average is None else _values(average),
            "moments": self._optimiser.state_dict()["state"],
            "steps": self._steps,
            "dropout": self._dropout.get_state(),
            "kept": self.kept,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Goes on where one of the same model and seed was."""
        restore(self._model, state["trained"])
        if self._average is not None:
            restore(self._average, state["average"])
        groups = self._optimiser.state_dict()["param_groups"]
        moments = {
            place: {name: value.clone() for name, value in one.items()}
            for place, one in state["moments"].items()
        }
        self._optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self._steps = state["steps"]
        self._dropout.set_state(state["dropout"])
        self.kept = {name: value.clone() for name, value in state["kept"].items()}

    def move(self, device: torch.device) -> None:
        """Takes the model and its optimiser's state to a device, so that others find room."""
        self._model.to(device)
        if self._average is not None:
            self._average.to(device)
        for state in self._optimiser.state.values():
            state.update({name: value.to(device) for name, value in state.items()})

    @property
    def _evaluated(self) -> torch.nn.Module:
        return self._model if self._average is None else self._average

    def _train(self, texts: IntArray) -> Tensor:
        self._model.train()
        self._batch = batch = self._sorted(texts)
        self._parts = [_Part(part, self._next_seed()) for part in _cut(batch.texts, self._at_once)]
        is_held_whole = self._held is None or self._held >= len(batch.texts)
        with torch.set_grad_enabled(is_held_whole):
            found = self._placed([self._run(part) for part in self._parts], batch)
        self._graph = found if is_held_whole else None
        self.vectors = found.detach().requires_grad_()
        return self.vectors

    @property
    def _at_once(self) -> int | None:
        if self._held is not None:
            return self._held
        return TRAINED_AT_ONCE if self._device.type == "cpu" else None

    def _evaluate(self, texts: IntArray) -> Tensor:
        model, batch = self._evaluated.eval(), self._sorted(texts)
        parts = _cut(batch.texts, EVALUATED_AT_ONCE)
        return self._placed([self._vectors(model, part) for part in parts], batch)

    def _sorted(self, texts: IntArray) -> _Batch:
        once, places = np.unique(texts, return_inverse=True)
        order = np.argsort(-self._texts.lengths[once], kind="stable")
        return _Batch(once[order], np.argsort(order)[places])

    def _placed(self, parts: Sequence[Tensor], batch: _Batch) -> Tensor:
        """The vectors of a batch's samples from those of its texts, in parts."""
        if not self._is_pooled:
            steps = max(part.shape[1] for part in parts)
            parts = [functional.pad(part, (0, 0, 0, steps - part.shape[1])) for part in parts]
        # Its gradient adds up in one order, which that of `parts[places]` does not.
        return torch.cat(list(parts)).index_select(
            0, torch.from_numpy(batch.places).to(self._device)
        )

    def _run(self, part: _Part) -> Tensor:
        """The vectors of a part; the same part twice gives the same ones, dropout included."""
        own = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=own):
            torch.manual_seed(part.seed)
            return self._vectors(self._model, part.texts)

    def _vectors(self, model: torch.nn.Module, texts: IntArray) -> Tensor:
        vectors = self._texts.vectors(model, texts, self._device, self._precision)
        if not self._is_pooled:
            return vectors
        lengths = torch.from_numpy(self._texts.lengths[texts]).to(self._device)
        return vectors.sum(1) / lengths[:, None]

    def _follow_average(self) -> None:
        """The average that `StackedAdamW` keeps of the network's own weights."""
        self._steps += 1
        if self._average is not None:
            share = (WINDOW + 1) / (self._steps + WINDOW)
            averages = list(trained_weights(self._average).values())
            with torch.no_grad():
                torch._foreach_lerp_(averages, self._trained, share)

    def _next_seed(self) -> int:
        return int(torch.randint(2**62, (), generator=self._dropout))


def _values(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in weights.items()}


def _cut(texts: IntArray, size: int | None) -> list[IntArray]:
    size = size or len(texts)
    return np.split(texts, range(size, len(texts), size))


def _groups(weights: Sequence[Tensor], training: TrainingConfig) -> list[dict[str, object]]:
    """Decay for matrices alone: biases and the scales of normalisations are left in peace."""
    rate, decay = training.backbone_rate, training.weight_decay
    return [
        {"params": [w for w in weights if w.ndim > 1], "lr": rate, "weight_decay": decay},
        {"params": [w for w in weights if w.ndim <= 1], "lr": rate, "weight_decay": 0.0},
    ]
