"""Fine-tuning a language model as somebody competent would write it: one seed, plain PyTorch.

Batches are padded to their own longest text, AdamW is fused, evaluation sorts texts by length.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from cmir.data import DevelopmentData
from cmir.method.language.data_tokens import split_tokens
from cmir.method.language.pretrained.backbones import Backbone
from cmir.method.language.token_vectors import token_vectors

WIDTH, BATCH, AT_ONCE = 150, 48, 64
CPU = torch.device("cpu")


class PlainLanguage:
    """A language model, linear layers on the other modalities, and a small network on all."""

    def __init__(self, data: DevelopmentData, backbone: Backbone, rate: float = 2e-5) -> None:
        self._data = data
        self._tokens = split_tokens(data, backbone)
        self._model = backbone.load()
        self._others = {
            name: torch.from_numpy(((m.array - m.mean) / m.std).astype(np.float32))
            for name, m in data.modalities.items()
            if name != "text" and m.steps is None
        }
        sizes = {"text": backbone.width} | {n: v.shape[1] for n, v in self._others.items()}
        self._enter = nn.ModuleDict({name: nn.Linear(size, WIDTH) for name, size in sizes.items()})
        joined = WIDTH * len(sizes)
        self._head = nn.Sequential(nn.Linear(joined, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
        groups = [
            {"params": self._model.parameters(), "lr": rate},
            {"params": [*self._enter.parameters(), *self._head.parameters()], "lr": 5e-4},
        ]
        self._optimiser = torch.optim.AdamW(groups, fused=True)

    def run_epoch(self) -> float:
        """Trains and evaluates one epoch; returns the mean absolute error on `ood_val`."""
        self._model.train()
        train = self._data.train
        order = np.random.permutation(len(train))
        for chosen in np.split(order, range(BATCH, len(order), BATCH)):
            if len(chosen) == BATCH:
                self._step(train.rows[chosen], torch.from_numpy(train.labels[chosen]))
        return self._evaluate()

    def _step(self, rows: np.ndarray, labels: Tensor) -> None:
        loss = nn.functional.mse_loss(self._predict(rows), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        weights = [w for group in self._optimiser.param_groups for w in group["params"]]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()

    def _predict(self, rows: np.ndarray) -> Tensor:
        vectors = token_vectors(self._model, self._tokens, rows, CPU)
        means = vectors.sum(1) / torch.from_numpy(self._tokens.lengths[rows])[:, None]
        given = {"text": means} | {name: values[rows] for name, values in self._others.items()}
        entered = [self._enter[name](values) for name, values in given.items()]
        found: Tensor = self._head(torch.cat(entered, 1)).squeeze(1)
        return found

    def _evaluate(self) -> float:
        self._model.eval()
        error = 0.0
        with torch.no_grad():
            for split in (self._data.id_val, self._data.ood_val):
                order = np.argsort(self._tokens.lengths[split.rows])
                parts = np.split(order, range(AT_ONCE, len(order), AT_ONCE))
                found = torch.cat([self._predict(split.rows[part]) for part in parts])
                labels = torch.from_numpy(split.labels[order])
                error = float((found - labels).abs().mean())
        return error
