"""How many configurations are worth stacking: measured on the real data, on the device at hand.

On a GPU a small network leaves most of the card idle and a stack of many costs little more than
one; on a CPU the arithmetic grows with the stack, and only what surrounds it is saved.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from cmir.config import TrialConfig
from cmir.data import DevelopmentData, SplitData
from cmir.learning.features import load_features
from cmir.learning.stack import Stack

# Twice as many configurations must train this much faster, each, to be worth a larger stack.
GAIN = 1.05
STEPS, RUNS = 3, 2
LIMIT_SECONDS = 2.5
# Of the memory that is free, how much a stack may take: later ones may be larger.
USABLE = 0.5


@dataclass(frozen=True)
class Cost:
    """Seconds of one epoch of a stack, and bytes that it took at most (0 where unknown)."""

    seconds: float
    memory: int = 0


class StackTimer:
    """Times stacks of copies of one configuration on a few batches of the data."""

    def __init__(self, data: DevelopmentData, config: TrialConfig, device: torch.device) -> None:
        """Loads the features once for all stacks; the partition is left out of their training."""
        batch = min(config.training.batch_size, len(data.train))
        settings = {"learning_rate": 1e-6, "epochs": RUNS + 2, "patience": RUNS + 2}
        unpartitioned = {"partition": "none", "groups": None}
        self._config = config.model_copy(
            update={
                "training": config.training.model_copy(update=settings),
                "environments": config.environments.model_copy(update=unpartitioned),
            }
        )
        self._device = device
        self._features = load_features(data, config.model, device)
        self._data = _few_batches(data, batch)
        self._batches = len(data.train) / len(self._data.train)
        self.cost(1)  # The first stack of a process waits for what torch loads and plans.

    def cost(self, count: int) -> Cost:
        """What an epoch of so many copies takes, from a few of its steps."""
        before = _start_of_peak(self._device)
        stack = Stack(self._data, [self._config] * count, self._device, features=self._features)
        stack.run_epoch()  # The first run of an operation is slow.
        seconds = min(_seconds(stack.run_epoch, self._device) for _ in range(RUNS))
        return Cost(seconds * self._batches, _peak(self._device) - before)


def worthwhile_size(
    cost: Callable[[int], Cost], most: int, fixed: float, room: int | None = None
) -> int:
    """The size up to which doubling a stack makes its configurations faster, each by 5 %.

    Args:
        cost: of a stack of so many configurations.
        most: largest size that is of use.
        fixed: seconds that an epoch costs beside, whatever the size.
        room: bytes that a stack may take; None: unknown.

    Example:
        >>> worthwhile_size(lambda count: Cost(1.0 + 0.1 * count), most=64, fixed=0.0)
        64
        >>> worthwhile_size(lambda count: Cost(1.0 * count), most=64, fixed=0.0)
        1
    """
    began = time.perf_counter()
    best, size, rate = 1, 1, 0.0
    while size <= most:
        try:
            found = cost(size)
        except torch.OutOfMemoryError:
            return best
        faster = size / (found.seconds + fixed)
        if faster < GAIN * rate or (room is not None and found.memory > room):
            return best
        best, size, rate = size, 2 * size, faster
        if time.perf_counter() - began > LIMIT_SECONDS / 2:
            return best  # The next would take as long as all so far.
    return most


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on the device; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable")


def _few_batches(data: DevelopmentData, batch: int) -> DevelopmentData:
    return replace(
        data,
        train=_first(data.train, STEPS * batch),
        id_val=_first(data.id_val, batch),
        ood_val=_first(data.ood_val, batch),
    )


def _first(split: SplitData, count: int) -> SplitData:
    return replace(
        split,
        rows=split.rows[:count],
        labels=split.labels[:count],
        samples=split.samples.head(count),
    )


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _start_of_peak(device: torch.device) -> int:
    """Memory in use, from which the peak is counted."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    return _kilobytes(Path("/proc/self/status"), "VmRSS") or 0


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return _kilobytes(Path("/proc/self/status"), "VmHWM") or 0


def _kilobytes(file: Path, name: str) -> int | None:
    """A quantity in bytes that Linux shows in kilobytes; None on other systems."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(name)), None)
