"""Shares of a GPU: as many trials as its memory holds, never one more."""

from __future__ import annotations

import pytest

from cmir.errors import InputError
from cmir.sweep.placement import CONTEXT, HEADROOM, RAY_STEPS, gpu_share, trials_per_gpu

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
