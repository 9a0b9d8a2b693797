"""What a version carries, and its life in the registry: listed, compared, taken back, overtaken."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from cmir.commands import reproduce_command as reproduce
from cmir.commands.promote_command import main
from cmir.promotion.gates import Verdict
from cmir.promotion.promotion import PromotionOutcome, promote
from cmir.promotion.promotion_plan import PromotionRequest, plan_promotion
from cmir.promotion.report.promotion_report import LONGEST_DESCRIPTION, fitting
from cmir.promotion.trainings import LocalTrainings
from cmir.registry.alias_history import holder, move_alias, moves
from cmir.runner.paths import Paths
from cmir.runner.tracking.sweep_tracker import connect
from tests.support.made_data.learning_data import write_learning
from tests.support.small_promotion import finished_sweep, open_store

GATES = {"finished_trials": 2, "seeds": 2, "champion_margin": 10.0, "noise_loss": 1000.0}
NAME = "cmir-small"
ARGUMENTS = ["--seeds", "2", "--top", "1"]


def promoted(client: MlflowClient, **changes: Any) -> PromotionOutcome:
    request = PromotionRequest(**{"seeds": 2, "top": 1, **changes})
    plan = plan_promotion(request, Paths())
    return promote(plan, request, client, LocalTrainings(plan.data))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep whose winner was promoted by force, and again as a candidate."""
    folder = tmp_path_factory.mktemp("life")
    with pytest.MonkeyPatch.context() as patch:
        client = open_store(folder, patch)
        finished_sweep(folder, gates=GATES | {"group_margin": 0.0}, epochs=2)
        ablation = Paths().ablation("small")
        ablation.mkdir()
        (ablation / "ablation.md").write_text("Taken apart: everything.")
        first = promoted(client, force=True, why="a test")
        assert first.status == "registered"
    return folder


@pytest.fixture
def client(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """The template in the test's own folder, as a new command finds it."""
    monkeypatch.setenv("COLUMNS", "250")
    open_store(tmp_path, monkeypatch)
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    _artifact_repos_cache.clear()
    return connect()


def carried(client: MlflowClient, file: str, folder: Path) -> str:
    run = client.get_model_version(NAME, "1").run_id
    return Path(client.download_artifacts(str(run), file, str(folder))).read_text()


def test_a_version_carries_its_card_its_pictures_and_its_recipe(
    client: MlflowClient, tmp_path: Path
) -> None:
    made = client.get_model_version(NAME, "1")
    logged = {file.path for file in client.list_artifacts(str(made.run_id))}
    named = {
        "model_card.md",
        "reproduction.json",
        "robustness.png",
        "robustness.csv",
        "groups.png",
        "errors.png",
    }
    assert named | {"probes.json", "probes.png", "by_seed.json", "ablation"} <= logged
    assert all(f"`{name}`" in str(made.description) for name in named)
    card = carried(client, "model_card.md", tmp_path)
    heads = re.findall(r"^## (.*)$", card, re.MULTILINE)
    assert heads == [
        "Data and shift",
        "How it was chosen",
        "Gates",
        "Against the ERM baseline on validation data",
        "On held-out data",
        "Groups",
        "Under corruption: mae on ood_val, mean over the severities",
        "What its parts hold",
        "Modalities",
        "Ablation of its sweep",
        "Not tested on",
        "Size",
        "Time used",
        "Train it again",
        "Settings",
    ]
    assert "Taken apart: everything." in card
    assert "Energy was not measured" in card
    assert "--sweep small --rule ood_val --top 1 --seeds 2 --alias champion --force" in card
    recipe = json.loads(carried(client, "reproduction.json", tmp_path))
    assert recipe["config"]["seeds"] == [1000, 1001]
    assert recipe["data_checksum"] == made.tags["data_checksum"]


def test_an_access_is_in_the_ledger_and_in_the_versions_tags(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = [json.loads(text) for text in Paths().heldout_ledger.read_text().splitlines()]
    tags = client.get_model_version(NAME, "1").tags
    assert (line["purpose"], line["model"]) == ("promotion of small", NAME)
    assert line["result"]["ood_test/mae"] == float(tags["ood_test/mae"])
    assert tags["heldout_readings_before"] == "0"
    Paths().heldout_ledger.unlink()
    assert main([*ARGUMENTS, "--force", "--why", "again"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "(test-set accesses before: 1)" in printed
    assert "the registry knows of 1 test-set accesses to this data, the ledger lists 0" in printed
    tags = client.get_model_version(NAME, "2").tags
    assert tags["heldout_readings_before"] == "1"
    assert "the ledger lists 0" in tags["heldout_ledger"]


def test_force_needs_a_reason_and_the_version_carries_it(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    tags = client.get_model_version(NAME, "1").tags
    assert "every group against the ERM baseline" in tags["forced"]
    assert tags["forced_why"] == "a test"
    assert main([*ARGUMENTS, "--force"]) == 2
    assert "--force must come with --why TEXT" in capsys.readouterr().err
    assert main([*ARGUMENTS, "--why", "because"]) == 2
    assert moves(client, NAME)[-1].why == "promotion of small by ood_val; by force: a test"
    # Without force, what is not better than its baseline gives way to it.
    assert main(ARGUMENTS) == 0
    assert "of the ERM baseline" in capsys.readouterr().out
    assert "baseline" in client.get_model_version(NAME, "2").tags


def test_a_candidate_is_registered_without_a_reading_and_the_champion_stays(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARGUMENTS, "--alias", "candidate", "--force", "--why", "to try"]) == 0
    assert "held-out data was not read" in capsys.readouterr().out
    assert len(Paths().heldout_ledger.read_text().splitlines()) == 1
    assert holder(client, NAME, "champion") == "1"
    assert holder(client, NAME, "candidate") == "2"
    assert "was not read for it" in str(client.get_model_version(NAME, "2").description)


def test_the_list_shows_versions_and_who_was_champion_when_and_why(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    for words in (
        "cmir-small",
        "champion",
        "every group against the ERM baseline: a test",
        "nobody",
        "promoted",
    ):
        assert words in printed


def second_version(client: MlflowClient) -> None:
    """A version 2 with the weights of version 1."""
    first = client.get_model_version(NAME, "1")
    client.create_model_version(NAME, str(first.source), first.run_id, tags=dict(first.tags))


def test_a_rollback_gives_the_alias_back_step_by_step(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in ("2", "3"):
        second_version(client)
        move_alias(client, NAME, "champion", number, kind="promoted", why="better")
    assert main(["--rollback", "--why", "complaints"]) == 0
    assert "champion is version 2 again, no longer version 3" in capsys.readouterr().out
    assert "complaints" in client.get_model_version(NAME, "3").tags["rolled_back"]
    assert main(["--rollback"]) == 0
    assert holder(client, NAME, "champion") == "1"
    assert main(["--rollback"]) == 2
    assert "there is no version before it" in capsys.readouterr().err
    found = [(move.version, move.before, move.kind) for move in moves(client, NAME)]
    assert found == [
        ("1", "", "promoted"),
        ("2", "1", "promoted"),
        ("3", "2", "promoted"),
        ("2", "3", "rolled back"),
        ("1", "2", "rolled back"),
    ]
    assert moves(client, NAME)[3].why == "complaints"


def test_a_rollback_to_a_deleted_version_is_refused(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    second_version(client)
    move_alias(client, NAME, "champion", "2", kind="promoted", why="better")
    client.delete_model_version(NAME, "1")
    assert main(["--rollback"]) == 2
    assert "version 1, which held 'champion' before, was deleted" in capsys.readouterr().err
    assert holder(client, NAME, "champion") == "2"


def test_two_versions_are_compared_in_pairs_on_validation_data(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    second_version(client)
    assert main(["--compare", "champion", "2"]) == 0
    printed = capsys.readouterr().out
    assert "A = version 1, B = version 2, paired" in printed
    assert "ood_val/mae" in printed
    assert "+0.0000" in printed
    client.set_model_version_tag(NAME, "2", "development_checksum", "other")
    assert main(["--compare", "1", "2"]) == 2
    assert "must be of the same development data" in capsys.readouterr().err
    assert main(["--compare", "1", "best"]) == 2
    assert "no alias 'best'; it has: 1 (champion), 2" in capsys.readouterr().err


def verdict_on_the_champion(outcome: PromotionOutcome) -> Verdict:
    return next(v for v in outcome.verdicts if v.name == "ood_val/mae against the champion")


def test_a_champion_with_other_seeds_is_trained_again_from_what_it_carries(
    client: MlflowClient,
) -> None:
    same = promoted(client, dry_run=True, force=True, why="a test")
    assert "version 1, same seeds" in verdict_on_the_champion(same).required
    assert verdict_on_the_champion(same).measured.endswith("(+0.0000)")
    again = promoted(client, seeds=3, dry_run=True, force=True, why="a test")
    assert "version 1, trained again" in verdict_on_the_champion(again).required
    # The same configuration with the same seeds is the same model.
    assert verdict_on_the_champion(again).measured.endswith("(+0.0000)")


def test_a_champion_without_a_recipe_is_compared_by_its_recorded_score(
    client: MlflowClient,
) -> None:
    first = client.get_model_version(NAME, "1")
    bare = client.create_run(client.create_experiment("elsewhere")).info.run_id
    client.create_model_version(NAME, str(first.source), bare, tags=dict(first.tags))
    move_alias(client, NAME, "champion", "2", kind="promoted", why="from elsewhere")
    outcome = promoted(client, dry_run=True, force=True, why="a test")
    found = verdict_on_the_champion(outcome)
    assert f"version 2, as recorded: {float(first.tags['ood_val/mae']):.4f}" in found.required
    assert found.interval == ""


def test_a_promotion_that_was_overtaken_registers_nothing(client: MlflowClient) -> None:
    second_version(client)
    request = PromotionRequest(seeds=2, top=1, force=True, why="a race")

    def faster(step: str) -> None:
        if step.startswith("scores under corruption"):
            move_alias(client, NAME, "champion", "2", kind="promoted", why="faster")

    plan = plan_promotion(request, Paths())
    outcome = promote(plan, request, client, LocalTrainings(plan.data), faster)
    assert (outcome.status, outcome.version) == ("refused", None)
    failed = outcome.verdicts[-1]
    assert (failed.name, failed.required, failed.measured) == (
        "champion unchanged meanwhile",
        "version 1",
        "version 2",
    )
    assert len(Paths().heldout_ledger.read_text().splitlines()) == 1
    assert len(client.search_model_versions(f"name='{NAME}'")) == 2


def test_a_version_trains_again_to_the_same_bits(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce.main(["--version", "champion"]) == 0
    assert "bit for bit" in capsys.readouterr().out
    assert len(Paths().heldout_ledger.read_text().splitlines()) == 1


def test_numbers_that_do_not_agree_and_data_that_is_other_are_told(
    client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(client.get_model_version(NAME, "1").run_id)
    recipe = json.loads(carried(client, "reproduction.json", tmp_path))
    changed = recipe | {"by_seed": {key: [9.0, 9.1] for key in recipe["by_seed"]}}
    client.log_dict(run, changed, "reproduction.json")
    try:
        assert reproduce.main(["--version", "1", "--model", NAME]) == 3
        assert "It does not agree" in capsys.readouterr().out
    finally:
        client.log_dict(run, recipe, "reproduction.json")
    other = write_learning(tmp_path / "other", padding=1)
    assert reproduce.main(["--version", "1", "--data", str(other)]) == 2
    assert "must be the data that the version was trained on" in capsys.readouterr().err
    assert reproduce.main(["--version", "7"]) == 2
    assert "has no version '7'; it has: 1 (champion)" in capsys.readouterr().err


def test_a_long_description_is_cut_where_the_registry_would_refuse_it() -> None:
    text = "\n".join(["a line"] * 2000)
    cut = fitting(text)
    assert len(cut) <= LONGEST_DESCRIPTION
    assert cut.endswith("a line\n\n... the rest stands in `model_card.md`.")
    assert fitting("short") == "short"
