"""An ablation of a configuration with a language model inside, held-out data read at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.small_ablation import SPACE, ablated, swept
from tests.support.small_promotion import open_store
from tests.support.tiny_backbones import write_backbone, write_spoken


def test_its_arms_are_trained_and_scored_with_their_own_language_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(tmp_path, monkeypatch)
    write_spoken(tmp_path / "data" / "small")
    backbone = str(write_backbone(tmp_path / "bert"))
    fixed = {
        **SPACE["fixed"],
        "model.backbone.text": backbone,
        "training.backbone_layers": 1,
        "training.backbone_learning_rate": 1e-3,
    }
    monkeypatch.setitem(SPACE, "fixed", fixed)
    plan = swept(tmp_path, families=("random",))
    assert plan.full.model.backbone == {"text": backbone}
    outcome = ablated(plan, tmp_path, final=True, families=("random",))
    assert outcome.table["arm"].to_list() == ["full", "random partition"]
    assert outcome.heldout is not None
    assert outcome.access is not None
    assert outcome.access.accesses == 1
    assert outcome.heldout["ood_test/mae"].is_finite().all()
