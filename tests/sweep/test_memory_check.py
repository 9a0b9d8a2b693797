from __future__ import annotations

from pathlib import Path

import pytest

from cmir.errors import InputError
from cmir.runner.paths import Paths
from cmir.runner.scheduling.placement import Placement
from cmir.sweep import memory_check
from cmir.sweep.memory_check import check_memory
from cmir.sweep.preparation import PreparedSweep, prepare_sweep
from tests.support.small_sweep import SMALL, write_space
from tests.support.tiny_backbones import write_backbone, write_spoken


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedSweep:
    write_spoken(tmp_path / "data" / "small")
    backbone = str(write_backbone(tmp_path / "bert"))
    space = write_space(tmp_path, fixed={**SMALL["fixed"], "model.backbone.text": backbone})
    return prepare_sweep(space, {}, Paths(tmp_path))


def test_a_model_that_fits_is_let_through(prepared: PreparedSweep) -> None:
    check_memory(prepared, Placement(concurrency=2))


def test_one_that_does_not_is_refused_with_both_numbers(
    prepared: PreparedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_check, "_memory", lambda: 20_000)
    wanted = r"bert takes at least 0\.0 GB a trial .* has 0\.0 GB of this machine's memory"
    with pytest.raises(InputError, match=wanted):
        check_memory(prepared, Placement(concurrency=2))
    check_memory(prepared, Placement(concurrency=2, address="ray://elsewhere"))
