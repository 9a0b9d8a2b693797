"""An ablation from a finished sweep to its table, its picture and its runs in MLflow."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient

from cmir.ablation.ablation_plan import AblationPlan, plan_ablation, read_configuration
from cmir.ablation.arm_results import results_of
from cmir.ablation.run_ablation import folder_of, study_of
from cmir.commands.ablate_command import main
from cmir.data import load_dataset
from cmir.data.dataset import HeldoutData, MultimodalDataset
from cmir.errors import InputError
from cmir.evaluation.bootstrap_groups import resampled_groups
from cmir.metrics.field_metrics import regression_metrics
from cmir.runner.paths import Paths
from cmir.runner.studies.storage import journal_storage
from cmir.runner.studies.study import records_of
from tests.support.made_data.learning_data import (
    learning_features,
    learning_samples,
    write_learning,
)
from tests.support.small_ablation import FAMILIES, ablated, request_of, swept
from tests.support.small_promotion import open_store


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished sweep and all arms of its ablation."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        open_store(folder, patch)
        ablated(swept(folder), folder)
    (folder / "mlflow.db").unlink()
    return folder


@pytest.fixture
def plan(template: Path, tmp_path: Path) -> AblationPlan:
    """The plan of an ablation in the test's own folder, whose arms are all trained."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return plan_ablation(request_of(tmp_path), Paths(tmp_path))


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("COLUMNS", "100")
    return open_store(tmp_path, monkeypatch)


ARGUMENTS = ["--space", "small.yaml", "--seeds", "2", "--families", ",".join(FAMILIES)]


def accesses(client: MlflowClient) -> int:
    known = {model.name: model.tags for model in client.search_registered_models()}
    return int(known.get("cmir-small", {}).get("heldout_readings", 0))


def test_the_best_trial_is_taken_apart_with_fresh_seeds(plan: AblationPlan, tmp_path: Path) -> None:
    assert plan.full.seeds == (1000, 1001)
    assert plan.name == "small"
    assert plan.budget == 2
    assert re.match(r"trial \d of the sweep small, the best of 2", plan.origin)
    assert plan.full.environments.view == "swap"


def test_the_command_shows_stores_and_publishes(
    plan: AblationPlan, client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(ARGUMENTS) == 0
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines()) <= 100
    assert "10 arms are 6 trainings of 2 seeds" in shown
    assert "6 of 6 are done" in shown
    assert "same as full" in shown
    assert "…" not in shown
    folder = folder_of(plan, Paths(tmp_path))
    table = pl.read_parquet(folder / "ablation.parquet")
    assert table.equals(pl.read_csv(folder / "ablation.csv", schema=table.schema))
    assert (folder / "forest.png").stat().st_size > 10_000
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "small.ablation"]
    shown_files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    wanted = {"ablation.csv", "ablation.parquet", "ablation.md", "forest.png"}
    assert wanted <= shown_files
    assert "| no reconstruction |" in parent.data.tags["mlflow.note.content"]
    children = {
        run.data.tags["arm"]: run
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    named = {name for names in children for name in names.split(", ")}
    assert {arm for arm in table["arm"] if arm.count(",") == 0} <= named | set(children)
    assert len(children) == 6
    control = table.filter(pl.col("arm") == "random partition").row(0, named=True)
    logged = children["random partition"].data.metrics
    assert logged["ood_val/mae_difference"] == pytest.approx(control["ood_val/mae_difference"])
    assert children["random partition"].data.params["environments.partition"] == "random"


def test_run_again_it_adds_no_run_and_no_row(
    plan: AblationPlan, client: MlflowClient, tmp_path: Path
) -> None:
    first = ablated(plan, tmp_path)
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    before = {run.info.run_id for run in client.search_runs([experiment.experiment_id])}
    again = ablated(plan, tmp_path)
    after = {run.info.run_id for run in client.search_runs([experiment.experiment_id])}
    assert after == before
    assert again.table.equals(first.table)


def test_scores_and_differences_are_those_of_the_kept_predictions(
    plan: AblationPlan, client: MlflowClient, tmp_path: Path
) -> None:
    table = ablated(plan, tmp_path).table
    paths, study = Paths(tmp_path), study_of(plan)
    records = records_of(journal_storage(paths.journal(study)), study)
    results = results_of(records, study, paths, plan.data)
    rows = {row["arm"]: row for row in table.iter_rows(named=True)}
    full, arm = rows["full"], rows["no views, no invariance"]
    for split in (plan.data.id_val, plan.data.ood_val):
        means = {}
        for row in (full, arm):
            scores = results[row["fingerprint"]].scores
            clean = [regression_metrics(one, split.labels)["mae"] for one in scores[split.name]]
            noisy = [
                np.mean([regression_metrics(one, split.labels)["mae"] for one in seed])
                for seed in scores[f"noise_{split.name}"].swapaxes(0, 1)
            ]
            assert row[f"{split.name}/mae"] == pytest.approx(np.mean(clean))
            assert row[f"{split.name}/mae_std"] == pytest.approx(np.std(clean, ddof=1))
            assert row[f"{split.name}/noise_mae"] == pytest.approx(np.mean(noisy))
            means[row["arm"]] = (np.mean(clean), np.mean(noisy))
        for place, name in enumerate(("mae", "noise_mae")):
            wanted = means[arm["arm"]][place] - means["full"][place]
            assert arm[f"{split.name}/{name}_difference"] == pytest.approx(wanted)
            low, high = (arm[f"{split.name}/{name}_{end}"] for end in ("low", "high"))
            assert low <= wanted <= high
    assert full["ood_val/mae_difference"] is None


def test_p_values_are_corrected_for_the_number_of_trainings_that_are_compared(
    plan: AblationPlan, client: MlflowClient, tmp_path: Path
) -> None:
    table = ablated(plan, tmp_path).table
    p_values = table.filter(pl.col("ood_val/mae_p_value").is_not_null()).unique("fingerprint")
    smallest = p_values.sort("ood_val/mae_p_value").row(0, named=True)
    wanted = min(1.0, len(p_values) * smallest["ood_val/mae_p_value"])
    assert len(p_values) == 5
    assert smallest["ood_val/mae_p_holm"] == pytest.approx(wanted)
    assert (p_values["ood_val/mae_p_holm"] >= p_values["ood_val/mae_p_value"]).all()
    assert table.filter(arm="full")["ood_val/mae_p_holm"].item() is None


def test_clusters_are_speakers_and_are_not_pooled(tmp_path: Path) -> None:
    data = load_dataset(write_learning(tmp_path / "data")).development()
    found = resampled_groups(data.ood_val)
    assert (found.what, found.number) == ("speaker", 5)
    wanted = data.ood_val.samples["speaker"].to_list()
    assert [wanted[int(np.flatnonzero(found.codes == code)[0])] for code in found.codes] == wanted


def test_one_environment_in_a_split_makes_no_cluster(tmp_path: Path) -> None:
    samples = learning_samples().with_columns(environment=pl.lit("one")).drop("speaker")
    data = load_dataset(write_learning(tmp_path / "data", samples=samples)).development()
    found = resampled_groups(data.ood_val)
    assert (found.what, found.number) == ("sample", len(data.ood_val))


def test_an_arm_that_did_not_finish_is_a_row(client: MlflowClient, tmp_path: Path) -> None:
    plan = swept(tmp_path)
    table = ablated(plan, tmp_path, ["random partition", "no reconstruction"]).table
    rows = {row["arm"]: row for row in table.iter_rows(named=True)}
    assert rows["random partition"]["outcome"] == "diverged"
    assert "became non-finite in epoch 2" in rows["random partition"]["note"]
    assert rows["random partition"]["ood_val/mae"] is None
    assert rows["reconstruction weight 0"]["outcome"] == "diverged"
    assert rows["no mutual information"]["outcome"] == "finished"


def test_held_out_data_is_read_once_for_all_arms_and_only_when_asked(
    plan: AblationPlan,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[str] = []
    heldout = MultimodalDataset.heldout

    def counted(data: MultimodalDataset) -> HeldoutData:
        calls.append(data.name)
        return heldout(data)

    monkeypatch.setattr(MultimodalDataset, "heldout", counted)
    assert main(ARGUMENTS) == 0
    assert (len(calls), accesses(client)) == (0, 0)
    assert main([*ARGUMENTS, "--final"]) == 0
    assert (len(calls), accesses(client)) == (1, 1)
    assert "it had never been read before" in capsys.readouterr().out
    assert main([*ARGUMENTS, "--final"]) == 0
    assert (len(calls), accesses(client)) == (1, 1)
    assert "was not read again" in capsys.readouterr().out
    table = pl.read_parquet(tmp_path / "mlruns/studies/small.ablation/heldout.parquet")
    assert table["ood_test/mae"].null_count() == 0
    assert table["id_test/noise_mae_difference"].null_count() == 3


def test_the_count_of_test_set_accesses_is_that_of_promotion(
    plan: AblationPlan, client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client.create_registered_model("cmir-small", {"heldout_readings": "3"})
    assert main([*ARGUMENTS, "--final"]) == 0
    assert "it had been read 3 times before" in " ".join(capsys.readouterr().out.split())
    assert accesses(client) == 4


def test_held_out_labels_change_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        open_store(folder, monkeypatch)
        write_learning(folder / "data" / "small", heldout_seed=seed)
        plan = swept(folder, families=("random",))
        tables.append(ablated(plan, folder, families=("random",)).table)
    assert tables[0].equals(tables[1])


def test_a_store_that_went_away_costs_no_arm(
    plan: AblationPlan, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def gone(*arguments: object, **named: object) -> None:
        raise ConnectionError("the server went away")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_artifact", gone)
        outcome = ablated(plan, tmp_path)
    assert "the server went away" in outcome.trouble
    assert outcome.table["ood_val/mae"].null_count() == 0
    assert ablated(plan, tmp_path).trouble == ""


def test_an_access_that_cannot_be_counted_is_not_done(
    plan: AblationPlan, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*arguments: object, **named: object) -> None:
        raise ConnectionError("the server went away")

    def read(data: MultimodalDataset) -> None:
        pytest.fail("held-out data was read")

    monkeypatch.setattr(MlflowClient, "set_registered_model_tag", gone)
    monkeypatch.setattr(MultimodalDataset, "heldout", read)
    with pytest.raises(InputError, match=r"was not read, .* the server went away\. Run the same"):
        ablated(plan, tmp_path, final=True)


def test_a_binary_task_is_compared_in_accuracy(client: MlflowClient, tmp_path: Path) -> None:
    plan = swept(tmp_path, "binary", "accuracy", families=("random",))
    table = ablated(plan, tmp_path, families=("random",)).table
    assert table["ood_val/accuracy"].is_between(0, 1).all()
    assert table["ood_val/accuracy_p_better"][1] is not None


def test_a_configuration_is_read_as_mlflow_keeps_it(plan: AblationPlan, tmp_path: Path) -> None:
    file = tmp_path / "Best One.json"
    file.write_text(json.dumps(plan.full.flat()))
    given = plan_ablation(request_of(tmp_path, sweep=None, config=file), Paths(tmp_path))
    assert given.name == "small-best-one"
    assert given.full == plan.full
    assert given.budget == 8
    assert "seeds" not in read_configuration(file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sweep", "smal"], r"no such sweep in .* Did you mean 'small'\?"),
        (["--space", "other.yaml", "--sweep", "small"], r"its space is 'small'. Give --space"),
        (["--families", "constraint"], r"no family of arms. Did you mean 'constraints'\?"),
        (["--config", "none.yaml"], r"none.yaml: there is no such file"),
        (["--config", "words.yaml"], r"must hold dotted keys"),
        (["--config", "typo.yaml"], r"typo.yaml: loss.invarance is not a known key"),
    ],
)
def test_bad_input_is_told_and_ends_with_2(
    plan: AblationPlan,
    client: MlflowClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    other = (tmp_path / "small.yaml").read_text().replace("name: small", "name: other")
    (tmp_path / "other.yaml").write_text(other)
    (tmp_path / "words.yaml").write_text("just words")
    (tmp_path / "typo.yaml").write_text("loss.invarance: 0.1")
    assert main(["--space", "small.yaml", *arguments]) == 2
    assert re.search(message, " ".join(capsys.readouterr().err.split()))


def test_without_a_sweep_the_command_that_makes_one_is_told(
    plan: AblationPlan, tmp_path: Path
) -> None:
    (tmp_path / "mlruns/studies/small.journal").unlink()
    with pytest.raises(InputError, match=r"no sweep of this space .*workflows/sweep.py --space"):
        plan_ablation(request_of(tmp_path), Paths(tmp_path))


def test_no_held_out_split_is_bad_input(client: MlflowClient, tmp_path: Path) -> None:
    samples = learning_samples().filter(~pl.col("split").is_in(["id_test", "ood_test"]))
    features = {k: v[: len(samples)] for k, v in learning_features(learning_samples()).items()}
    write_learning(tmp_path / "data" / "small", samples=samples, features=features)
    plan = swept(tmp_path)
    with pytest.raises(InputError, match=r"has no held-out split\. Leave --final out"):
        ablated(plan, tmp_path, final=True)
