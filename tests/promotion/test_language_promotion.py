"""A sweep with a language model inside, promoted like any other: gates, registry, reproduction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from cmir.data import load_dataset
from cmir.promotion.promotion import PromotionOutcome, promote
from cmir.promotion.promotion_plan import PromotionRequest, plan_promotion
from cmir.promotion.report.version_tables import compare_versions
from cmir.promotion.reproduction import reproduce_version
from cmir.promotion.trainings import LocalTrainings
from cmir.registry.versions import ensemble_of_version, recipe_of_version, version
from cmir.runner.paths import Paths
from cmir.serving.score_files import score_source
from tests.support.small_promotion import CONTENT, OPEN_GATES, finished_sweep, open_store
from tests.support.tiny_backbones import write_backbone, write_spoken

NAME = "cmir-small"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return open_store(tmp_path, monkeypatch)


def language_sweep(folder: Path, **fixed: Any) -> Path:
    write_spoken(folder / "data" / "small")
    backbone = write_backbone(folder / "models" / "bert")
    given = {**CONTENT["fixed"], "model.backbone.text": str(backbone), **fixed}
    gates = OPEN_GATES | {"against_plain": "better"}
    return finished_sweep(folder, fixed=given, trials=2, epochs=2, gates=gates)


def promoted(client: MlflowClient) -> PromotionOutcome:
    request = PromotionRequest(seeds=2, top=1, force=True, why="a test")
    plan = plan_promotion(request, Paths())
    return promote(plan, request, client, LocalTrainings(plan.data))


@pytest.mark.parametrize("layers", [1, 0])
def test_it_is_registered_with_all_its_evidence_and_reproduced(
    layers: int, client: MlflowClient, tmp_path: Path
) -> None:
    folder = language_sweep(tmp_path, **{"training.backbone_layers": layers})
    outcome = promoted(client)
    assert outcome.status == "registered"
    assert outcome.accesses == 1
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    heldout = load_dataset(folder).heldout()
    for name, split in heldout.splits.items():
        request: dict[str, Any] = {
            part.name: np.array(part.array[split.rows])
            for part in heldout.modalities.values()
            if part.name != "text"
        }
        request["raw_text"] = split.samples["raw_text"].to_list()
        error = np.abs(model.predict(request)["prediction"] - split.labels).mean()
        assert error == pytest.approx(outcome.heldout[f"{name}/ensemble_mae"], rel=1e-4)
    one = version(client, NAME, "champion")
    (run,) = client.search_runs(
        [client.get_run(str(one.run)).info.experiment_id], "tags.promotion != ''"
    )
    logged = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"robustness.csv", "probes.json", "reproduction.json"} <= logged
    recipe = recipe_of_version(client, one)
    assert recipe is not None
    again = reproduce_version(recipe, ensemble_of_version(one), None, lambda report: None)
    assert again.is_exact
    assert again.agrees


def test_the_next_one_is_compared_with_it_and_a_folder_is_scored(
    client: MlflowClient, tmp_path: Path
) -> None:
    folder = language_sweep(tmp_path, **{"training.backbone_rank": 2})
    promoted(client)
    assert promoted(client).version == "2"
    compared = compare_versions(client, NAME, ["1", "2"], None)
    assert compared.differences["ood_val/mae"].estimate == pytest.approx(0, abs=1e-6)
    table = score_source(ensemble_of_version(version(client, NAME, "2")), folder, "ood_val")
    assert table.columns[:6] == ["id", "split", "prediction", "label", "error", "std"]
    assert not table["text_cut"].any()
