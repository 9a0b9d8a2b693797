"""How many trials share a GPU, from the memory that one of them was seen to take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cmir.errors import InputError

# Of each GPU, for what grows after the calibration: larger views, the results at a trial's end.
HEADROOM = 0.1
# What a process takes of a GPU before its first tensor: CUDA's context, cuBLAS's workspace. Larger
# than what is reported for current cards, about .5 GB; torch's own counters do not contain it.
CONTEXT = 600 << 20
# Ray counts shares of a GPU in ten-thousandths.
RAY_STEPS = 10_000


def trials_per_gpu(free: Sequence[int], peak: int, context: int = CONTEXT) -> int:
    """How many processes, each with one trial at a time, fit every GPU.

    Args:
        free: bytes that each GPU has free, `torch.cuda.mem_get_info(i)[0]`, before the sweep.
        peak: bytes that one trial, or one pack of trials, took at most:
            `torch.cuda.max_memory_reserved()` of its process, its largest batch, its evaluation
            and its results among it.
        context: bytes that each process takes beside.

    Raises:
        InputError: not even one fits the GPU with the least free memory.

    Example:
        >>> trials_per_gpu([80 << 30, 79 << 30], peak=3 << 30)
        19
    """
    least = min(range(len(free)), key=lambda index: free[index])
    usable = int(free[least] * (1 - HEADROOM))
    count = usable // (peak + context)
    if count < 1:
        raise InputError(
            f"GPU {least}: a trial takes {_gigabytes(peak + context)}, but of its "
            f"{_gigabytes(free[least])} free memory {_gigabytes(usable)} may be used. Lower "
            "--pack, seeds, training.batch_size or environments.count, or free the GPU."
        )
    return count


def gpu_share(trials: int) -> float:
    """The share of a GPU that Ray is asked for, so that as many trials share one.

    Rounded down to what Ray counts in: with seven times .1429 only six would fit.

    Example:
        >>> gpu_share(7)
        0.1428
    """
    return math.floor(RAY_STEPS / trials) / RAY_STEPS


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
