from __future__ import annotations

from functools import partial

import pytest
import torch

from cmir.data import DevelopmentData
from cmir.method.training import calibration
from cmir.method.training.calibration import Cost, PackTimer, Sizes, useful_sizes
from tests.support.learning_data import small_config

CPU = torch.device("cpu")


def affine(fixed: float, each: float) -> dict[int, Cost]:
    return {size: Cost(fixed + each * size, size) for size in (1, 2, 4, 8, 16, 32, 64)}


@pytest.mark.parametrize(
    ("fixed", "each"), [(1.0, 1.0), (1.0, 0.1), (0.0, 1.0), (0.1, 1.0), (0.2, 1.0)]
)
def test_fewest_and_most_are_within_five_per_cent_of_the_best(fixed: float, each: float) -> None:
    costs = affine(fixed, each)
    found = useful_sizes(costs.__getitem__, most=64, fixed=0.0)
    rates = {size: size / cost.seconds for size, cost in costs.items()}
    near = [size for size, rate in rates.items() if 1.05 * rate >= max(rates.values())]
    assert found == Sizes(min(near), 64)


def test_a_size_that_makes_configurations_much_slower_is_neither() -> None:
    costs = {1: Cost(1.0), 2: Cost(1.5), 4: Cost(3.7), 8: Cost(9.0), 16: Cost(1.0)}
    assert useful_sizes(costs.__getitem__, most=64, fixed=0.0) == Sizes(2, 4)


def test_what_surrounds_an_epoch_is_shared_by_a_pack() -> None:
    costs = affine(0.0, 1.0)
    assert useful_sizes(costs.__getitem__, most=64, fixed=0.0).worthwhile == 1
    assert useful_sizes(costs.__getitem__, most=64, fixed=1.0).worthwhile == 16


@pytest.mark.parametrize("most", [1, 3, 12])
def test_the_largest_size_of_use_is_reached_and_not_passed(most: int) -> None:
    found = useful_sizes(lambda size: Cost(1.0), most=most, fixed=0.0)
    assert found == Sizes(most, most)


def test_memory_bounds_the_size() -> None:
    costs = affine(1.0, 0.0)
    assert useful_sizes(costs.__getitem__, most=64, fixed=0.0, room=9) == Sizes(8, 8)
    assert useful_sizes(costs.__getitem__, most=64, fixed=0.0, room=0) == Sizes(1, 1)

    def breaking(largest: int, size: int) -> Cost:
        if size > largest:
            raise torch.OutOfMemoryError
        return Cost(1.0)

    assert useful_sizes(partial(breaking, 4), most=64, fixed=0.0) == Sizes(4, 4)
    assert useful_sizes(partial(breaking, 0), most=64, fixed=0.0) == Sizes(1, 1)


def test_measuring_ends_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "LIMIT_SECONDS", 0.0)
    assert useful_sizes(lambda size: Cost(1.0), most=64, fixed=0.0) == Sizes(1, 4)
    assert useful_sizes(lambda size: Cost(1.0), most=2, fixed=0.0) == Sizes(1, 2)


def test_a_pack_is_timed_on_few_batches_and_counted_for_an_epoch(
    learning: DevelopmentData,
) -> None:
    config = small_config((0, 1))
    timer = PackTimer(learning, config, CPU)
    cost = timer.cost(2)
    assert cost.seconds > 0
    assert cost.memory >= 0
    assert len(learning.train) / timer._share == calibration.STEPS * config.training.batch_size
