"""Independent tasks over the processors or GPUs of this machine, placed by Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import ray
import torch
from ray.exceptions import RayTaskError

from cmir.runner.placement import Placement, Resources
from cmir.runner.ray_tune import ray_running
from cmir.runner.worker import own_device

Task = TypeVar("Task")
Result = TypeVar("Result")
TICK_SECONDS = 0.5


@dataclass(frozen=True)
class Ended(Generic[Result]):
    """How a task ended: with what its function returned, or with the reason why there is none."""

    result: Result | None
    fault: str = ""


def task_resources(concurrency: int | None = None, tasks_per_gpu: int = 4) -> Resources:
    """One task for each processor, or `tasks_per_gpu` for each GPU, unless told how many."""
    gpus = torch.cuda.device_count()
    if gpus:
        share = 1 / tasks_per_gpu
        return Resources(concurrency or gpus * tasks_per_gpu, gpus_per_trial=share)
    return Resources(concurrency or len(os.sched_getaffinity(0)))


def run_tasks(
    work: Callable[[Task, str], Result],
    tasks: Mapping[str, Task],
    resources: Resources,
    on_end: Callable[[str, Ended[Result]], None],
    on_tick: Callable[[int], None] = lambda running: None,
) -> None:
    """Runs `work(task, device)` for every task, each with one thread.

    A task that raises, or whose process dies, ends with a fault and is not tried again; the others
    go on.

    Args:
        work: a function of a module, so that workers can import it.
        tasks: name to task, started in this order.
        resources: how many at a time, and each one's share of a GPU.
        on_end: told the name and the ending of each task as it ends.
        on_tick: told about twice a second how many tasks run.

    Raises:
        KeyboardInterrupt: by SIGINT or SIGTERM; running tasks are stopped.
    """
    if not tasks:
        return
    with ray_running(Placement(resources.concurrency)):
        remote = ray.remote(
            num_cpus=resources.cpus_per_trial,
            num_gpus=resources.gpus_per_trial,
            max_retries=0,
            max_calls=0,  # A worker keeps its process, which took seconds to import torch.
        )(_in_one_thread)
        names = {remote.remote(work, task): name for name, task in tasks.items()}
        while names:
            ready, _ = ray.wait(list(names), num_returns=1, timeout=TICK_SECONDS)
            for reference in ready:
                on_end(names.pop(reference), _ending(reference))
            on_tick(min(len(names), resources.concurrency))


def _in_one_thread(work: Callable[[Any, str], Any], task: Any) -> Any:
    torch.set_num_threads(1)
    return work(task, own_device())


def _ending(reference: Any) -> Ended[Any]:
    try:
        return Ended(ray.get(reference))
    except RayTaskError as error:
        cause = error.cause
        return Ended(None, f"{type(cause).__name__}: {cause}")
    except ray.exceptions.RayError:
        return Ended(None, "its worker process died (out of memory, or ended from outside)")
