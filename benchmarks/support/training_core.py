"""The training core by itself: a stack in training, timed, and the memory that it takes at most.

It knows data and learning alone: no Ray, no Optuna, no MLflow.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.support.measuring import peak, seconds, start_of_peak
from benchmarks.support.timed import BenchmarkError
from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.method.training.replica_stack import Stack

WARM_UP = 2


@dataclass
class Memory:
    """Bytes that a block took at most beside what was held before it; 0 where unknown."""

    peak: int = 0


class Training:
    """A stack in training, epoch by epoch, each of the same size.

    Attributes:
        start: seconds that making the stack took.
        steps: of an epoch.
        peak: bytes that the stack took while it was made and warmed up, see `Memory`.
    """

    def __init__(
        self,
        data: DevelopmentData,
        trials: Sequence[TrialConfig],
        device: torch.device,
        epochs: int,
    ) -> None:
        """Makes the stack and trains it for the epochs that do not count; `epochs` follow.

        The last of them includes the results of every configuration.
        """
        total = WARM_UP + epochs
        settings = {"epochs": total, "patience": total}
        self._trials = [
            trial.model_copy(update={"training": trial.training.model_copy(update=settings)})
            for trial in trials
        ]
        self._device = device
        with memory(device) as used:
            self.start = seconds(lambda: self._make(data), device)
            for _ in range(WARM_UP):
                self.epoch()
        self.peak = used.peak
        self.steps = len(data.train) // min(trials[0].training.batch_size, len(data.train))

    def epoch(self) -> float:
        """Trains and evaluates one epoch; returns its seconds.

        Raises:
            BenchmarkError: a configuration left before, because it diverged: the epochs are not of
                one size.
        """
        if len(self._stack.running) < len(self._trials):
            raise BenchmarkError("a configuration diverged while it was timed")
        return seconds(self._stack.run_epoch, self._device)

    def _make(self, data: DevelopmentData) -> None:
        self._stack = Stack(data, self._trials, self._device)


def shortened(data: DevelopmentData, samples: int) -> DevelopmentData:
    """The same data with fewer training samples."""
    return replace(data, train=data.train.first(samples))


@contextmanager
def memory(device: torch.device) -> Iterator[Memory]:
    """Measures the most memory in use within the block: of the GPU, or of this process."""
    used = Memory()
    gc.collect()
    if device.type == "cpu":
        _give_back()
    before = start_of_peak(device)
    yield used
    used.peak = max(0, peak(device) - before)


def _give_back() -> None:
    """Lets freed memory go to the system, and the system count the peak anew (Linux, glibc)."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")
