"""A pack against each of its configurations alone, however it is cut into stacks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.method.training.pack import CPU_REPLICAS, Pack
from cmir.method.training.reports import Diverged, TrialResult
from tests.support.learning_data import VARIANTS, assert_close, ends, small_config, trained

CPU = torch.device("cpu")
CHANGES: list[dict[str, Any]] = [
    {"training__learning_rate": 0.003},
    {"training__weight_decay": 0.3, "loss__mutual_information": 0.0},
    {"training__learning_rate": 0.008, "loss__reconstruction": 0.2},
]


@pytest.mark.parametrize("seeds", [(1,), (1, 2), tuple(range(CPU_REPLICAS + 1))])
def test_configurations_of_a_pack_are_each_one_alone(
    learning: DevelopmentData, seeds: tuple[int, ...]
) -> None:
    configs = [small_config(seeds, **VARIANTS["swap"] | change) for change in CHANGES]
    found = ends(Pack(learning, configs, CPU))
    assert sorted(found) == [0, 1, 2]
    for index, config in enumerate(configs):
        result = found[index]
        assert isinstance(result, TrialResult)
        assert result.config == config
        assert_close(result, trained(learning, config))


def test_what_is_dropped_leaves_the_pack_and_the_others_alone(learning: DevelopmentData) -> None:
    configs = [small_config((1, 2, 3), **change) for change in CHANGES]
    pack = Pack(learning, configs, CPU)
    assert sorted(pack.run_epoch()) == [0, 1, 2]
    pack.drop([0, 2])
    assert pack.running == (1,)
    result = ends(pack)[1]
    assert isinstance(result, TrialResult)
    assert_close(result, trained(learning, configs[1]))


def test_a_configuration_that_diverges_leaves_the_pack_and_the_others_alone(
    learning: DevelopmentData,
) -> None:
    wild = {"training__learning_rate": 1e30}
    configs = [small_config((1, 2, 3), **change) for change in ({}, wild, CHANGES[0])]
    found = ends(Pack(learning, configs, CPU))
    assert isinstance(found[1], Diverged)
    for index in (0, 2):
        result = found[index]
        assert isinstance(result, TrialResult)
        assert_close(result, trained(learning, configs[index]))


def test_configurations_of_another_structure_do_not_fit_one_pack(learning: DevelopmentData) -> None:
    other = small_config(model__hidden_size=12)
    with pytest.raises(InputError, match=r"must agree in model\.hidden_size"):
        Pack(learning, [small_config(), other], CPU)
