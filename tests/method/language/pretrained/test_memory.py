from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmir.config import TrialConfig, trial_config
from cmir.method.language.pretrained.backbones import find_backbone
from cmir.method.language.pretrained.memory import COPIES, FLOAT, least_bytes
from cmir.method.language.pretrained.tuned_part import trained_weights, tuned_part


def config(folder: Path, **training: Any) -> TrialConfig:
    settings = {f"training.{name}": value for name, value in training.items()}
    return trial_config({"model.backbone.text": str(folder), **settings})


@pytest.mark.parametrize("family", ["bert", "albert", "deberta-v2", "modernbert"])
@pytest.mark.parametrize(
    "training", [{"backbone_layers": 1}, {"backbone_rank": 2}, {"backbone_layers": 2}]
)
def test_it_is_that_of_the_part_that_training_really_holds(
    family: str, training: dict[str, Any], backbones: dict[str, Path]
) -> None:
    wanted = config(backbones[family], **training)
    backbone = find_backbone(str(backbones[family]))
    copy = tuned_part(backbone, wanted.training).copied(seed=0)
    trained = sum(weight.numel() for weight in trained_weights(copy).values())
    held = sum(weight.numel() for weight in copy.parameters())
    assert least_bytes(wanted) == FLOAT * (held - trained + COPIES * trained)


def test_all_layers_take_five_copies_a_frozen_model_one_and_none_nothing(
    backbones: dict[str, Path],
) -> None:
    whole = find_backbone(str(backbones["bert"])).load()
    count = sum(weight.numel() for weight in whole.parameters())
    assert least_bytes(config(backbones["bert"])) == FLOAT * COPIES * count
    assert least_bytes(config(backbones["bert"], backbone_layers=0)) == FLOAT * count
    assert least_bytes(trial_config({})) == 0
