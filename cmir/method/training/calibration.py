"""How many configurations to pack: measured on the real data, on the device at hand.

On a GPU a small network leaves most of the card idle and a pack of many costs little more than
one; on a CPU the arithmetic grows with the pack, and only what surrounds it is saved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.method.training.measuring import peak, seconds, start_of_peak
from cmir.method.training.pack import Pack

# Configurations must train this much faster, each, to be worth a larger pack, and this much slower
# to speak against one: a CPU that others use as well makes times differ by a tenth and more.
GAIN, LOSS = 1.05, 1.25
STEPS, RUNS = 3, 2
LIMIT_SECONDS = 2.5
# So many may train together where there was no time to measure more.
USUAL = 4
# Of the memory that is free, how much a pack may take: later ones may be larger.
USABLE = 0.5


@dataclass(frozen=True)
class Cost:
    """Seconds of one epoch of a pack, and bytes that it took at most (0 where unknown)."""

    seconds: float
    memory: int = 0


@dataclass(frozen=True)
class Sizes:
    """How many configurations to pack.

    Attributes:
        worthwhile: fewest that train, each, within 5 % as fast as with any number.
        possible: most that are not a quarter slower and that fit the memory, `USUAL` where time
            ended before.
    """

    worthwhile: int
    possible: int


class PackTimer:
    """Times packs of copies of one configuration on a few batches of the data."""

    def __init__(self, data: DevelopmentData, config: TrialConfig, device: torch.device) -> None:
        """The partition is left out of their training."""
        batch = min(config.training.batch_size, len(data.train))
        settings = {"learning_rate": 1e-6, "epochs": RUNS + 2, "patience": RUNS + 2}
        unpartitioned = {"partition": "none", "groups": None}
        self._config = config.model_copy(
            update={
                "training": config.training.model_copy(update=settings),
                "environments": config.environments.model_copy(update=unpartitioned),
            }
        )
        self._device, self._data = device, _few_batches(data, batch)
        self._share = len(data.train) / len(self._data.train)
        self.cost(1)  # The first pack of a process waits for what torch loads and plans.

    def cost(self, count: int) -> Cost:
        """What an epoch of so many copies takes, from a few of its steps."""
        before = start_of_peak(self._device)
        pack = Pack(self._data, [self._config] * count, self._device)
        pack.run_epoch()  # The first run of an operation is slow.
        least = min(seconds(pack.run_epoch, self._device) for _ in range(RUNS))
        return Cost(least * self._share, peak(self._device) - before)


def useful_sizes(
    cost: Callable[[int], Cost], most: int, fixed: float, room: int | None = None
) -> Sizes:
    """Doubles a pack until its configurations train slower, memory ends, or 2.5 s are over.

    Args:
        cost: of a pack of so many configurations.
        most: largest size that is of use.
        fixed: seconds that an epoch costs beside, whatever the size.
        room: bytes that a pack may take; None: unknown.

    Example:
        >>> useful_sizes(lambda count: Cost(1.0 + 0.1 * count), most=64, fixed=0.0)
        Sizes(worthwhile=64, possible=64)
        >>> useful_sizes(lambda count: Cost(1.0 * count), most=64, fixed=0.0)
        Sizes(worthwhile=1, possible=64)
    """
    began, rates, unmeasured = time.perf_counter(), dict[int, float](), 1
    for size in _doubled(most):
        try:
            found = cost(size)
        except torch.OutOfMemoryError:
            break
        rate = size / (found.seconds + fixed)
        is_too_large = room is not None and found.memory > room
        if rates and (is_too_large or LOSS * rate < max(rates.values())):
            break
        rates[size] = rate
        if time.perf_counter() - began > LIMIT_SECONDS / 2:
            unmeasured = min(USUAL, most)
            break  # The next would take as long as all so far.
    if not rates:
        return Sizes(1, 1)
    best = max(rates.values())
    worthwhile = min(size for size, rate in rates.items() if GAIN * rate >= best)
    return Sizes(worthwhile, max(*rates, unmeasured))


def _doubled(most: int) -> Iterator[int]:
    """1, 2, 4, ... and the largest."""
    size = 1
    while size < most:
        yield size
        size *= 2
    yield most


def _few_batches(data: DevelopmentData, batch: int) -> DevelopmentData:
    return replace(
        data,
        train=data.train.first(STEPS * batch),
        id_val=data.id_val.first(batch),
        ood_val=data.ood_val.first(batch),
    )
