"""Where trials run: as many as a GPU holds, never one more, none on another's device."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any

import pytest
import ray

from cmir.errors import InputError, PlaceError
from cmir.runner.scheduling.placement import (
    CONTEXT,
    HEADROOM,
    RAY_STEPS,
    Resources,
    device_of,
    gpu_share,
    resources_for,
    trials_per_gpu,
)
from cmir.runner.scheduling.ray_session import RAY_SETTINGS

GB = 1 << 30


@pytest.mark.parametrize("peak", [1, GB // 7, GB, 3 * GB])
@pytest.mark.parametrize("free", [5 * GB, 16 * GB, 80 * GB])
def test_as_many_trials_share_a_gpu_as_fit_and_one_more_would_not(free: int, peak: int) -> None:
    count = trials_per_gpu([free], peak)
    assert count * (peak + CONTEXT) <= free * (1 - HEADROOM) < (count + 1) * (peak + CONTEXT)


def test_the_gpu_with_the_least_free_memory_decides() -> None:
    assert trials_per_gpu([80 * GB, 10 * GB], GB) == trials_per_gpu([10 * GB], GB)


def test_a_trial_that_fits_no_gpu_is_told_with_the_gpu_and_the_bytes() -> None:
    with pytest.raises(InputError, match=r"GPU 1: a trial takes 3\.9 GB, but of its 2\.1 GB"):
        trials_per_gpu([80 * GB, 2 * GB], 3 * GB)


@pytest.mark.parametrize("trials", [1, 2, 3, 4, 6, 7, 19, 119, 4096])
def test_so_many_shares_make_a_gpu_in_the_steps_ray_counts_in(trials: int) -> None:
    steps = round(gpu_share(trials) * RAY_STEPS)
    assert gpu_share(trials) == steps / RAY_STEPS
    assert RAY_STEPS // steps >= trials
    assert trials > 100 or RAY_STEPS // steps == trials


def test_trials_on_processors_share_all_of_them() -> None:
    assert resources_for(8, 0, None, 4) == Resources(8)
    assert resources_for(8, 0, 3, 4) == Resources(3, cpus_per_trial=2)
    assert resources_for(2, 0, 5, 4) == Resources(5)


def test_trials_on_gpus_take_a_share_each() -> None:
    assert resources_for(2, 2, None, 3) == Resources(6, gpus_per_trial=0.3333)
    assert resources_for(2, 2, 4, 3) == Resources(4, gpus_per_trial=0.3333)


def test_the_assigned_gpu_is_counted_among_the_visible_ones() -> None:
    assert device_of([], None) == device_of([], "0,1") == "cpu"
    assert device_of(["3"], None) == device_of(["3"], "") == "cuda:3"
    assert device_of(["GPU-b"], "GPU-a,GPU-b") == "cuda:1"
    with pytest.raises(PlaceError, match="assigned GPU 3, but CUDA_VISIBLE_DEVICES is '0,1'"):
        device_of(["3"], "0,1")


@pytest.mark.slow
def test_no_task_of_ray_gets_a_device_that_is_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs that Ray is told of, two tasks on each: each device is the assigned one."""
    for name, value in RAY_SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    ray.init(num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
    try:
        meetings, task = meeting_and_task()
        meeting = meetings.remote(4)
        held = [task.options(num_gpus=gpu_share(2)).remote(meeting) for _ in range(4)]
        found = ray.get(held, timeout=120)
    finally:
        ray.shutdown()
    assert Counter(assigned for assigned, _, _ in found) == {"0": 2, "1": 2}
    for assigned, visible, device in found:
        seen = (visible or "0,1").split(",")
        assert seen[int(device.removeprefix("cuda:"))] == assigned


def meeting_and_task() -> tuple[Any, Any]:
    """Where tasks wait until all run at once, and a task; local, so that workers get both whole."""

    class Meeting:
        def __init__(self, count: int) -> None:
            self._count, self._come = count, 0

        def come(self) -> None:
            self._come += 1

        def is_full(self) -> bool:
            return self._come == self._count

    def held(meeting: Any) -> tuple[str, str | None, str]:
        ray.get(meeting.come.remote())
        while not ray.get(meeting.is_full.remote()):
            time.sleep(0.05)
        (assigned,) = ray.get_runtime_context().get_accelerator_ids()["GPU"]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return assigned, visible, device_of([assigned], visible)

    return ray.remote(num_cpus=0)(Meeting), ray.remote(held)
