"""Where trials run: how many share a GPU, how many run at once, which device is whose."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cmir.errors import InputError, PlaceError

# Of each GPU, for what grows after the calibration: larger views, the results at a trial's end.
HEADROOM = 0.1
# What a process takes of a GPU before its first tensor: CUDA's context, cuBLAS's workspace. Larger
# than what is reported for current cards, about .5 GB; torch's own counters do not contain it.
CONTEXT = 600 << 20
# Ray counts shares of a GPU in ten-thousandths.
RAY_STEPS = 10_000


@dataclass(frozen=True)
class Resources:
    """What a trial takes and how many run at once.

    Attributes:
        concurrency: trials at a time.
        cpus_per_trial: whole processors, which is also the number of torch threads.
        gpus_per_trial: a fraction where several share a GPU; 0 without one. On a cluster, of those
            that run on one.
        address: of a Ray cluster; None starts Ray on this machine.
    """

    concurrency: int
    cpus_per_trial: int = 1
    gpus_per_trial: float = 0.0
    address: str | None = None


def trials_per_gpu(free: Sequence[int], peak: int, context: int = CONTEXT) -> int:
    """How many processes, each with one trial at a time, fit every GPU.

    Args:
        free: bytes that each GPU has free, `torch.cuda.mem_get_info(i)[0]`, before the sweep.
        peak: bytes that one trial took at most:
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
            f"GPU {least}: a trial takes {gigabytes(peak + context)}, but of its "
            f"{gigabytes(free[least])} free memory {gigabytes(usable)} may be used. Lower "
            "seeds, training.batch_size or environments.count, or free the GPU."
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


def resources_for(cpus: int, gpus: int, concurrency: int | None, per_gpu: int) -> Resources:
    """What a trial takes of this machine: its share of a GPU where there are any, else processors.

    Args:
        cpus: processors that the driver may use. Ray is told of as many as the trials need.
        gpus: likewise.
        concurrency: trials at a time, as asked for; None: as many as there is room for.
        per_gpu: trials that share one GPU.
    """
    if gpus:
        return Resources(concurrency or gpus * per_gpu, gpus_per_trial=gpu_share(per_gpu))
    at_a_time = concurrency or cpus
    return Resources(at_a_time, cpus_per_trial=max(1, cpus // at_a_time))


@dataclass(frozen=True)
class Placement:
    """Where trials shall run, as a user asks for it.

    Attributes:
        concurrency: trials at a time; None: one per processor, or per share of a GPU.
        trials_per_gpu: trials that share one GPU.
        address: of a Ray cluster; None: this machine.
    """

    concurrency: int | None = None
    trials_per_gpu: int = 4
    address: str | None = None

    def here(self) -> Resources:
        """What trials may take of this machine."""
        cpus, gpus = len(os.sched_getaffinity(0)), torch.cuda.device_count()
        return resources_for(cpus, gpus, self.concurrency, self.trials_per_gpu)

    def on_cluster(self) -> Resources:
        """What a trial takes on a cluster: a processor, and a share of a GPU where it gets one."""
        share = gpu_share(self.trials_per_gpu)
        return Resources(self.concurrency or 1, gpus_per_trial=share, address=self.address)


def device_of(assigned: Sequence[str], visible: str | None) -> str:
    """The torch device of a process, from what Ray assigned to it.

    A process may see more GPUs than are its own, so the assigned one decides, and torch counts
    among the visible ones.

    Args:
        assigned: ids of its GPUs, as Ray names them; none for a trial on processors.
        visible: the value of CUDA_VISIBLE_DEVICES; None where it is not set.

    Raises:
        PlaceError: Ray's GPU is not among those that the process sees.

    Example:
        >>> device_of(["3"], "2,3")
        'cuda:1'
    """
    if not assigned:
        return "cpu"
    if not visible:
        return f"cuda:{assigned[0]}"
    seen = visible.split(",")
    if assigned[0] not in seen:
        raise PlaceError(
            f"a trial was assigned GPU {assigned[0]}, but CUDA_VISIBLE_DEVICES is '{visible}' in "
            "its process: leave it to Ray, and set it only before Ray starts on a node."
        )
    return f"cuda:{seen.index(assigned[0])}"


def gigabytes(count: int) -> str:
    """A number of bytes for a reader."""
    return f"{count / 1e9:.1f} GB"
