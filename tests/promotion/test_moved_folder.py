"""A folder that was renamed: promoting, predicting, loading and reproducing go on where it is."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from cmir.commands import predict_command as predict
from cmir.commands import reproduce_command as reproduce
from cmir.commands.promote_command import main as promote_main
from cmir.data import load_dataset
from cmir.promotion.promotion import promote
from cmir.promotion.promotion_plan import PromotionRequest, plan_promotion
from cmir.promotion.trainings import LocalTrainings
from cmir.runner.paths import Paths
from cmir.runner.tracking.sweep_tracker import connect
from tests.support.small_promotion import OPEN_GATES, finished_sweep, open_store

NAME = "cmir-small"


def promote_here() -> str | None:
    """As the command does, in this process."""
    request = PromotionRequest(seeds=2, top=1)
    plan = plan_promotion(request, Paths())
    return promote(plan, request, connect(), LocalTrainings(plan.data)).version


def test_all_that_follows_a_sweep_works_in_a_folder_that_was_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old", tmp_path / "ne%77 ü"
    old.mkdir()
    open_store(old, monkeypatch)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    finished_sweep(old, gates=OPEN_GATES)
    assert promote_here() == "1"
    old.rename(new)
    monkeypatch.chdir(new)
    # What an earlier command knew is not known to the next one.
    _artifact_repos_cache.clear()
    assert predict.main(["data/small", "--out", "p.json"]) == 0
    rows = json.loads(Path("p.json").read_text())
    seen = load_dataset("data/small").metadata["split"].is_in(["train", "id_val", "ood_val"])
    assert len(rows) == seen.sum()
    assert reproduce.main(["--version", "1"]) == 0
    assert "bit for bit" in capsys.readouterr().out
    assert promote_here() == "2"
    assert promote_main(["--list"]) == 0
    for version in ("1", "2"):
        uri = f"models:/{NAME}/{version}"
        assert mlflow.pyfunc.load_model(uri, dst_path=str(tmp_path)).predict is not None
    assert not old.exists()


def test_a_broken_ledger_is_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(tmp_path, monkeypatch)
    finished_sweep(tmp_path, gates=OPEN_GATES, trials=2)
    Paths().heldout_ledger.write_text('{"purpose": "one"}\n{"purp')
    with pytest.raises(ValueError, match=r"heldout_ledger.jsonl: line 2 must be a JSON object"):
        plan_promotion(PromotionRequest(), Paths())
