from __future__ import annotations

import pytest
import torch
from learning_data import small_config

from cmir.data import DevelopmentData
from cmir.learning import calibration
from cmir.learning.calibration import Cost, StackTimer, free_memory, worthwhile_size

CPU = torch.device("cpu")


def affine(fixed: float, each: float) -> dict[int, Cost]:
    return {size: Cost(fixed + each * size, size) for size in (1, 2, 4, 8, 16, 32, 64)}


@pytest.mark.parametrize(
    ("fixed", "each", "expected"),
    # Rates of 1, 2, 4, ... are as size / (fixed + each * size).
    [(1.0, 1.0, 16), (1.0, 0.1, 64), (0.0, 1.0, 1), (0.1, 1.0, 1), (0.2, 1.0, 2)],
)
def test_a_stack_is_doubled_while_that_makes_its_members_five_per_cent_faster(
    fixed: float, each: float, expected: int
) -> None:
    costs = affine(fixed, each)
    size = worthwhile_size(costs.__getitem__, most=64, fixed=0.0)
    rates = {size: size / cost.seconds for size, cost in costs.items()}
    assert size == expected
    assert size == 64 or rates[2 * size] < 1.05 * rates[size]
    assert size == 1 or rates[size] >= 1.05 * rates[size // 2]


def test_what_surrounds_an_epoch_is_shared_by_a_stack() -> None:
    costs = affine(0.0, 1.0)
    assert worthwhile_size(costs.__getitem__, most=64, fixed=1.0) == 16


def test_the_largest_size_of_use_is_not_passed() -> None:
    assert worthwhile_size(affine(1.0, 0.0).__getitem__, most=12, fixed=0.0) == 12
    assert worthwhile_size(affine(1.0, 0.0).__getitem__, most=1, fixed=0.0) == 1


def test_memory_bounds_the_size() -> None:
    assert worthwhile_size(affine(1.0, 0.0).__getitem__, most=64, fixed=0.0, room=9) == 8

    def breaking(size: int) -> Cost:
        if size > 4:
            raise torch.OutOfMemoryError
        return Cost(1.0)

    assert worthwhile_size(breaking, most=64, fixed=0.0) == 4


def test_measuring_ends_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "LIMIT_SECONDS", 0.0)
    assert worthwhile_size(affine(1.0, 0.0).__getitem__, most=64, fixed=0.0) == 1


def test_a_stack_is_timed_on_few_batches_and_counted_for_an_epoch(
    learning: DevelopmentData,
) -> None:
    config = small_config((0, 1))
    timer = StackTimer(learning, config, CPU)
    cost = timer.cost(2)
    assert cost.seconds > 0
    assert cost.memory >= 0
    assert len(learning.train) / timer._batches == calibration.STEPS * config.training.batch_size


def test_free_memory_is_a_positive_number_of_bytes_where_the_system_says_it() -> None:
    free = free_memory(CPU)
    assert free is None or free > 1 << 20
