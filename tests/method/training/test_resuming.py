"""A training that goes on from the state of another ends as if nothing had interrupted it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.method.training.fitting import fit
from cmir.method.training.reports import EpochReport, State
from tests.support.made_data.learning_data import VARIANTS, assert_identical, small_config
from tests.support.tiny_backbones import write_backbone

BY_SPEAKER = {"environments__partition": "speaker", "environments__groups": 3}
PENALTIES = ("vrex", "irm", "coral", "mmd", "dann", "sal", "mixup")
# What keeps something from step to step, or from epoch to epoch.
STATEFUL: dict[str, dict[str, Any]] = {
    **VARIANTS,
    **{name: {**BY_SPEAKER, "loss__penalty": name} for name in PENALTIES},
    "annealed": {**VARIANTS["fishr"], "loss__penalty_anneal_epochs": 2},
    "averaged": {"training__averaging": "polynomial"},
    "dense average": {"training__averaging": "swad", "training__epochs": 12},
    "modulated": {"training__modulation": "ogm_ge"},
    "erased label": {"loss__label_erasure": True},
    "leaves early": {"training__patience": 1, "training__learning_rate": 0.2},
}
TUNED: dict[str, dict[str, Any]] = {
    "all": {},
    "top layer": {"training__backbone_layers": 1},
    "adapters": {"training__backbone_rank": 2, "training__averaging": "polynomial"},
    "small batches": {"training__backbone_batch_size": 4, **VARIANTS["group_dro"]},
    "annealed": STATEFUL["annealed"],
    "frozen": {"training__backbone_layers": 0},
}


def written_and_read(state: State) -> State:
    """As it comes back from a disk; nothing but plain values and tensors does."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    found: State = torch.load(file, weights_only=True)
    return found


def assert_goes_on(data: DevelopmentData, config: TrialConfig) -> int:
    """Resumes after every epoch but the last, of many after some; returns how many there were."""
    whole, states = list[EpochReport](), list[State]()
    for report in fit(data, config):
        whole.append(report)
        states += [written_and_read(report.state())] if report.state else []
    assert len(states) == len(whole) - 1
    for epoch, state in list(enumerate(states, 1))[:: max(1, len(states) // 4)]:
        rest = list(fit(data, config, state=state))
        assert [report.epoch for report in rest] == [report.epoch for report in whole[epoch:]]
        assert [report.metrics for report in rest] == [report.metrics for report in whole[epoch:]]
        assert [one.objective for one in rest] == [one.objective for one in whole[epoch:]]
        found, wanted = rest[-1].result, whole[-1].result
        assert found is not None
        assert wanted is not None
        assert_identical(found, wanted)
        assert found.diagnosis == wanted.diagnosis
        assert found.seconds > 0
        for mine, kept in zip(found.backbones, wanted.backbones, strict=True):
            assert mine.keys() == kept.keys()
            assert all(torch.equal(mine[name], kept[name]) for name in kept)
    return len(states)


@pytest.mark.parametrize("name", STATEFUL)
def test_a_training_that_goes_on_gives_the_same_numbers_to_the_bit(
    name: str, learning: DevelopmentData
) -> None:
    settings = {"training__epochs": 3, **STATEFUL[name]}
    assert assert_goes_on(learning, small_config((1, 2), **settings)) > 0


@pytest.mark.parametrize("name", TUNED)
def test_so_does_one_with_a_language_model(
    name: str, spoken: DevelopmentData, tmp_path: Path
) -> None:
    model = str(write_backbone(tmp_path / "bert", dropout=0.1))
    settings = {"model__backbone__text": model, **TUNED[name]}
    if name != "frozen":
        settings["training__backbone_learning_rate"] = 1e-3
    assert assert_goes_on(spoken, small_config((1, 2), **settings)) == 2


def test_seeds_that_have_ended_stay_as_they_ended(
    spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    settings = {
        "model__backbone__text": str(backbones["bert"]),
        "training__backbone_learning_rate": 1e-3,
        "training__learning_rate": 0.05,
        "training__epochs": 6,
        "training__patience": 1,
    }
    config = small_config((0, 1, 2, 3), **settings)
    *_, last = fit(spoken, config)
    assert last.result is not None
    # Each leaves one epoch after its best.
    assert len(set(last.result.best_epochs)) > 1
    assert assert_goes_on(spoken, config) > 1
