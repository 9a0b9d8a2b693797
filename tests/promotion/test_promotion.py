"""The promotion command, from a finished sweep to a registered model or a refusal."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from cmir.commands.promote_command import main
from cmir.data import load_dataset
from cmir.errors import InputError
from cmir.method.training.split_scores import split_metrics
from cmir.promotion.promotion import PromotionOutcome, promote
from cmir.promotion.promotion_plan import PromotionRequest, plan_promotion
from cmir.promotion.trainings import LocalTrainings
from cmir.runner.paths import Paths
from cmir.runner.tracking.sweep_tracker import SweepTracker
from tests.support.made_data.learning_data import (
    learning_features,
    learning_samples,
    write_learning,
)
from tests.support.small_promotion import (
    OPEN_GATES,
    finished_sweep,
    open_store,
    train_here,
)

NAME = "cmir-small"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("COLUMNS", "200")
    train_here(monkeypatch)
    return open_store(tmp_path, monkeypatch)


def promoted(client: MlflowClient, **changes: Any) -> PromotionOutcome:
    request = PromotionRequest(**{"seeds": 2, "top": 2, **changes})
    plan = plan_promotion(request, Paths())
    return promote(plan, request, client, LocalTrainings(plan.data))


def runs(client: MlflowClient) -> list[Any]:
    experiments = [found.experiment_id for found in client.search_experiments()]
    return [run for run in client.search_runs(experiments) if "promotion" in run.data.tags]


def accesses(client: MlflowClient) -> int:
    known = {model.name: model.tags for model in client.search_registered_models()}
    return int(known.get(NAME, {}).get("heldout_readings", 0))


def test_the_command_registers_a_model_that_can_be_loaded(
    client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_sweep(tmp_path, gates=OPEN_GATES)
    assert main(["--seeds", "2", "--top", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "registered cmir-small version 1, alias champion" in printed.out
    assert "mlflow.pyfunc.load_model('models:/cmir-small@champion')" in printed.out
    assert "ood_test/mae" in printed.out
    model = mlflow.pyfunc.load_model("models:/cmir-small@champion")
    data = load_dataset(tmp_path / "data" / "small").development()
    batch = {name: np.array(part.array[:4]) for name, part in data.modalities.items()}
    assert np.isfinite(model.predict(batch).to_numpy()).all()


def test_a_version_tells_what_it_is_and_how_it_was_chosen(
    client: MlflowClient, tmp_path: Path
) -> None:
    dataset = load_dataset(finished_sweep(tmp_path, gates=OPEN_GATES))
    outcome = promoted(client)
    assert outcome.winner is not None
    made = client.get_model_version_by_alias(NAME, "champion")
    expected = {
        "sweep": "small",
        "rule": "ood_val",
        "seeds": "1000, 1001",
        "trial": str(outcome.winner.record.number),
        "data_checksum": dataset.checksum,
        "development_checksum": dataset.development().checksum,
        "heldout_readings": "1",
        "synthetic": "false",
    }
    assert expected.items() <= made.tags.items()
    assert float(made.tags["ood_val/mae"]) == outcome.winner.score("ood_val/mae")
    assert float(made.tags["ood_test/ensemble_mae"]) == outcome.heldout["ood_test/ensemble_mae"]
    shown = ("| ood_test/mae |", "| the label, new groups |")
    for words in ("sweep `small`", "rule `ood_val`", "for the first time", *shown):
        assert words in str(made.description)
    assert "synthetic" not in str(made.description)
    (run,) = runs(client)
    assert run.data.metrics["probe/label_from_invariant"] < 1
    logged = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"probes.json", "probes.png", "modalities.json", "modalities.png"} <= logged
    assert "by_seed.json" in logged


def test_the_held_out_scores_are_those_of_the_model_that_is_served(
    client: MlflowClient, tmp_path: Path
) -> None:
    heldout = load_dataset(finished_sweep(tmp_path, gates=OPEN_GATES)).heldout()
    outcome = promoted(client)
    model = mlflow.pyfunc.load_model("models:/cmir-small@champion")
    for name, split in heldout.splits.items():
        request: dict[str, Any] = {}
        for part in heldout.modalities.values():
            request[part.name] = np.array(part.array[split.rows])
            if part.lengths is not None:
                request[f"{part.name}_lengths"] = part.lengths[split.rows]
        served = model.predict(request)["prediction"].to_numpy()[None]
        metrics = split_metrics(served, split, heldout.task)
        for metric in ("mae", "corr", "acc2_non0", "worst_environment_mae"):
            recorded = outcome.heldout[f"{name}/ensemble_{metric}"]
            assert recorded == pytest.approx(metrics[f"{name}/{metric}"][0], rel=1e-4)


def test_a_refused_candidate_costs_no_reading_and_registers_nothing(
    client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = {"training.learning_rate": [1.0, 2.0]}
    finished_sweep(tmp_path, gates=OPEN_GATES, search=wild, start_from=[], trials=2, epochs=1)
    assert main(["--seeds", "2", "--top", "1"]) == 3
    printed = capsys.readouterr().out
    assert "refused: ood_val/mae against a constant: required below 1.6680" in printed
    assert "held-out data was not read" in printed
    assert accesses(client) == 0
    assert list(client.search_registered_models()) == []
    (run,) = runs(client)
    assert run.data.tags["promotion"] == "refused"
    assert run.data.tags["reasons"] == "ood_val/mae against a constant"
    assert "ood_val/mae" in run.data.metrics
    assert not any(key.split("/")[0].endswith("_test") for key in run.data.metrics)


def test_gates_that_need_no_training_come_before_it(client: MlflowClient, tmp_path: Path) -> None:
    finished_sweep(tmp_path, gates={"finished_trials": 4, "seeds": 3})
    outcome = promoted(client)
    assert outcome.status == "refused"
    assert [verdict.passed for verdict in outcome.verdicts] == [False, False]
    assert outcome.candidates == ()


def test_a_dry_run_reads_and_writes_nothing(
    client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_sweep(tmp_path, gates=OPEN_GATES)
    assert main(["--seeds", "2", "--top", "1", "--dry-run"]) == 0
    assert "would become cmir-small@champion" in capsys.readouterr().out
    assert main(["--seeds", "1", "--dry-run"]) == 3
    assert accesses(client) == 0
    assert runs(client) == []


def test_a_later_candidate_must_not_be_worse_than_the_champion(
    client: MlflowClient, tmp_path: Path
) -> None:
    finished_sweep(tmp_path, gates=OPEN_GATES | {"champion_margin": 0.0})
    first = promoted(client, top=3)
    again = promoted(client, top=3)
    assert [first.status, again.status] == ["registered", "registered"]
    assert again.version == "2"
    # The worst trial's turn: it is compared with the champion's own weights of the same seeds.
    plan = plan_promotion(PromotionRequest(seeds=2, top=3), Paths())
    worst = replace(plan, shortlist=plan.shortlist[-1:])
    refused = promote(worst, PromotionRequest(seeds=2, top=1), client, LocalTrainings(plan.data))
    assert refused.status == "refused"
    (failed,) = [v for v in refused.verdicts if not v.passed]
    assert failed.name == "ood_val/mae against the champion"
    assert "version 2, same seeds" in failed.required
    assert failed.interval
    assert accesses(client) == 2


def test_an_access_is_counted_even_if_nothing_is_registered_after_it(
    client: MlflowClient, tmp_path: Path
) -> None:
    finished_sweep(tmp_path, gates=OPEN_GATES)
    blocked = tmp_path / "blocked"
    blocked.touch()
    client.create_experiment("small", artifact_location=str(blocked))
    with pytest.raises(OSError, match="blocked"):
        promoted(client)
    assert accesses(client) == 1
    blocked.unlink()
    assert promoted(client).accesses == 2
    made = client.get_model_version_by_alias(NAME, "champion")
    assert "for the 2nd time" in str(made.description)


def test_changing_every_held_out_label_changes_no_choice(
    client: MlflowClient, tmp_path: Path
) -> None:
    folder = finished_sweep(tmp_path, gates=OPEN_GATES)
    first = promoted(client, dry_run=True)
    write_learning(folder, heldout_seed=7, overwrite=True)
    second = promoted(client, dry_run=True)
    assert first.winner is not None
    assert second.winner is not None
    assert first.winner.record.number == second.winner.record.number
    assert first.verdicts == second.verdicts
    assert first.plan.dataset.checksum != second.plan.dataset.checksum


def test_data_without_held_out_splits_is_registered_without_a_reading(
    client: MlflowClient, tmp_path: Path
) -> None:
    samples = learning_samples()
    kept = ~samples["split"].is_in(["id_test", "ood_test"]).to_numpy()
    features = {name: array[kept] for name, array in learning_features(samples).items()}
    write_learning(tmp_path / "data" / "small", samples=samples.filter(kept), features=features)
    finished_sweep(tmp_path, gates=OPEN_GATES)
    outcome = promoted(client)
    assert outcome.status == "registered"
    assert outcome.heldout == {}
    assert accesses(client) == 0
    made = client.get_model_version_by_alias(NAME, "champion")
    assert "no held-out split" in str(made.description)


def test_a_model_of_the_stand_in_cannot_be_mistaken(
    client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_sweep(tmp_path, "small-synthetic", gates=OPEN_GATES)
    assert main(["--seeds", "2", "--top", "1", "--alias", "trial-balloon"]) == 0
    assert "SYNTHETIC DATA" in capsys.readouterr().out
    made = client.get_model_version_by_alias("cmir-small-synthetic", "trial-balloon")
    assert "synthetic stand-in" in str(made.description)
    assert made.tags["synthetic"] == "true"


def test_a_binary_sweep_is_promoted_too(client: MlflowClient, tmp_path: Path) -> None:
    gates = OPEN_GATES
    finished_sweep(tmp_path, task="binary", gates=gates, epochs=8)
    outcome = promoted(client, rule="worst_environment")
    assert outcome.plan.metric == "ood_val/worst_environment_accuracy"
    assert outcome.status == "registered", outcome.verdicts
    assert "ood_test/ensemble_auc" in outcome.heldout


def test_a_sweep_can_be_continued_after_a_promotion(client: MlflowClient, tmp_path: Path) -> None:
    finished_sweep(tmp_path, gates=OPEN_GATES)
    before = SweepTracker(client, "small", "small")
    before.flush()
    request = PromotionRequest(seeds=2, top=1)
    plan = replace(plan_promotion(request, Paths()), parent_run=before.parent)
    promote(plan, request, client, LocalTrainings(plan.data))
    (run,) = runs(client)
    assert run.data.tags["mlflow.parentRunId"] == before.parent
    after = SweepTracker(client, "small", "small", [before.parent])
    assert after.flush() == 0
    assert after.run_of(0) is None


def test_the_latest_sweep_is_promoted_unless_another_is_named(tmp_path: Path) -> None:
    for name in ("older", "newer"):
        finished_sweep(tmp_path, name, trials=1)
    os.utime(Paths(tmp_path).journal("older"), (1, 1))
    assert plan_promotion(PromotionRequest(), Paths(tmp_path)).sweep == "newer"
    assert plan_promotion(PromotionRequest(sweep="older"), Paths(tmp_path)).sweep == "older"


def test_a_study_in_another_storage_is_promoted_by_name(tmp_path: Path) -> None:
    finished_sweep(tmp_path, trials=1)
    journal = str(Paths(tmp_path).journal("small"))
    request = PromotionRequest(sweep="small", storage=journal)
    assert plan_promotion(request, Paths(tmp_path / "elsewhere")).finished == 1
    with pytest.raises(InputError, match="name one with --sweep"):
        plan_promotion(PromotionRequest(storage=journal), Paths(tmp_path))
    with pytest.raises(InputError, match=r"holds no sweep 'big'.*workflows/sweep\.py"):
        plan_promotion(PromotionRequest(sweep="big", storage=journal), Paths(tmp_path))


def test_data_that_changed_since_the_sweep_is_refused(tmp_path: Path) -> None:
    folder = finished_sweep(tmp_path, trials=1)
    write_learning(folder, padding=1, overwrite=True)
    with pytest.raises(InputError, match=r"has changed since the sweep 'small'.*--fresh"):
        plan_promotion(PromotionRequest(), Paths(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sweep", "smal"], r"no such sweep in .* Did you mean 'small'\?"),
        (["--rule", "oracle"], r"'oracle' is no rule of selection"),
        (["--alias", "latest"], r"--alias must be a word .*but got 'latest'"),
        (["--alias", "v2"], r"but got 'v2'"),
        (["--alias", "a b"], r"but got 'a b'"),
    ],
)
def test_bad_input_is_told_and_ends_with_2(
    client: MlflowClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    finished_sweep(tmp_path, trials=1)
    assert main(arguments) == 2
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))


def test_without_a_sweep_the_command_that_makes_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "there is no sweep to promote" in told
    assert "python workflows/sweep.py --space search_spaces/mosei.yaml" in told
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_registers_nothing(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_sweep(tmp_path, gates=OPEN_GATES)

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalTrainings, "train", interrupted)
    assert main(["--seeds", "2"]) == 130
    assert list(client.search_registered_models()) == []
    assert runs(client) == []
