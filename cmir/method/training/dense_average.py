"""Dense averaging of weights (SWAD): over all steps of the epochs before a network overfits.

Cha et al. 2021, SWAD, "Seeking Flat Minima", Alg. 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# N_s, N_e and r of Alg. 1, as published.
OPTIMUM_PATIENCE = 3
OVERFIT_PATIENCE = 6
TOLERANCE = 1.3
# What is known of each replica.
BY_REPLICA = ("_counts", "_starts", "_limits", "has_ended")

Losses = npt.NDArray[np.floating]
Weights = Mapping[str, Tensor]


class DenseAverage:
    """The averages of a stack of replicas, each over a window of epochs of its own.

    The window starts N_s epochs ago once the validation loss of that epoch is the least of the last
    N_s; it ends before the last N_e epochs once all of their losses are above r times the mean of
    the first N_s in it. The average is over the steps inside. Losses are looked at once an epoch.
    A loss that falls until training ends never opens a window: then the last N_s epochs are
    averaged, where Alg. 1 would start at the untrained network.
    """

    def __init__(self, replicas: int) -> None:
        self._epoch = 0
        self._steps = 0
        self._sum: dict[str, Tensor] = {}
        self._recent: deque[tuple[int, dict[str, Tensor]]] = deque(maxlen=OVERFIT_PATIENCE)
        self._losses: deque[Losses] = deque(maxlen=OVERFIT_PATIENCE)
        self._settled: dict[str, Tensor] = {}
        self._counts = np.zeros(replicas)
        self._starts = np.zeros(replicas, dtype=np.int64)
        self._limits = np.full(replicas, np.nan)
        self.has_ended = np.zeros(replicas, dtype=bool)

    def add(self, weights: Weights) -> None:
        """Takes the weights after one step, `(replica, *shape)` each."""
        self._steps += 1
        for name, weight in weights.items():
            if name in self._sum:
                self._sum[name].add_(weight.detach())
            else:
                self._sum[name] = weight.detach().clone()

    def close_epoch(self, losses: Losses) -> None:
        """Ends an epoch with the validation loss `(replica,)` of the weights after it."""
        self._epoch += 1
        if len(self._recent) == OVERFIT_PATIENCE:
            self._settle(*self._recent[0])
        means = {name: total / self._steps for name, total in self._sum.items()}
        self._recent.append((self._epoch, means))
        self._losses.append(losses)
        self._sum, self._steps = {}, 0
        self._end_windows()
        self._start_windows()

    def average(self, replica: int) -> dict[str, Tensor]:
        """The average of one replica of the stack, `(*shape)` each."""
        chosen = [] if self.has_ended[replica] else self._pending(replica)
        count = self._counts[replica] + len(chosen)
        found = {}
        for name in self._recent[-1][1]:
            parts = [means[name][replica] for _, means in chosen]
            if self._counts[replica]:
                parts.append(self._settled[name][replica])
            found[name] = torch.stack(parts).sum(0) / count
        return found

    def keep(self, replicas: Sequence[int]) -> None:
        """Drops all other replicas."""
        rows = list(replicas)
        for means in (self._sum, self._settled, *(means for _, means in self._recent)):
            means.update({name: weight[rows] for name, weight in means.items()})
        kept = [losses[rows] for losses in self._losses]
        self._losses = deque(kept, maxlen=OVERFIT_PATIENCE)
        self._counts, self._starts = self._counts[rows], self._starts[rows]
        self._limits, self.has_ended = self._limits[rows], self.has_ended[rows]

    def state(self) -> dict[str, Any]:
        """What `resume` goes on from, after an epoch was closed."""
        return {
            "epoch": self._epoch,
            "recent": [(epoch, dict(means)) for epoch, means in self._recent],
            "losses": [torch.from_numpy(losses) for losses in self._losses],
            "settled": self._settled,
            **{name: torch.from_numpy(getattr(self, name)) for name in BY_REPLICA},
        }

    def resume(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Takes the place of one that had come to this state."""
        self._epoch = state["epoch"]
        self._recent.extend((epoch, _on(device, means)) for epoch, means in state["recent"])
        self._losses.extend(losses.numpy().copy() for losses in state["losses"])
        self._settled = _on(device, state["settled"])
        for name in BY_REPLICA:
            setattr(self, name, state[name].numpy().copy())

    def _settle(self, epoch: int, means: Weights) -> None:
        """An epoch that is N_e old belongs to every window that was open by then."""
        inside = self._is_open & (self._starts <= epoch)
        self._counts += inside
        for name, mean in means.items():
            chosen = torch.as_tensor(inside, dtype=mean.dtype, device=mean.device)
            own = mean * chosen.view(-1, *[1] * (mean.ndim - 1))
            self._settled[name] = self._settled[name] + own if name in self._settled else own

    def _end_windows(self) -> None:
        if len(self._losses) == OVERFIT_PATIENCE:
            best = np.min(self._losses, axis=0)
            self.has_ended |= self._is_open & (best > self._limits)

    def _start_windows(self) -> None:
        if len(self._losses) < OPTIMUM_PATIENCE:
            return
        last = np.array(list(self._losses)[-OPTIMUM_PATIENCE:])
        begins = ~self._is_open & (last[0] <= last.min(axis=0))
        self._starts[begins] = self._epoch - OPTIMUM_PATIENCE + 1
        self._limits[begins] = TOLERANCE * last.mean(axis=0)[begins]

    def _pending(self, replica: int) -> list[tuple[int, dict[str, Tensor]]]:
        """The newest epochs of a window that has not ended; the last N_s where none is open."""
        if not self._is_open[replica]:
            return list(self._recent)[-OPTIMUM_PATIENCE:]
        return [one for one in self._recent if one[0] >= self._starts[replica]]

    @property
    def _is_open(self) -> npt.NDArray[np.bool_]:
        return np.asarray(~np.isnan(self._limits))


def _on(device: torch.device, means: Weights) -> dict[str, Tensor]:
    return {name: mean.to(device, copy=True) for name, mean in means.items()}
