"""What is registered where no candidate is better than the baseline, or none surely so."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from cmir.commands.promote_command import main
from tests.support.small_promotion import (
    CONTENT,
    OPEN_GATES,
    finished_sweep,
    open_store,
    train_here,
)

NAME = "cmir-small"
ASKED = ["--seeds", "2", "--top", "2"]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("COLUMNS", "200")
    train_here(monkeypatch)
    return open_store(tmp_path, monkeypatch)


GATES = OPEN_GATES | {"against_plain": "confident", "group_margin": 10.0}


def hampered_sweep(folder: Path) -> None:
    """Two trials whose constraint weighs so much that they learn little else."""
    finished_sweep(
        folder,
        gates=GATES,
        trials=2,
        fixed={**CONTENT["fixed"], "environments.view": "swap", "loss.invariance": 100.0},
        search={"training.learning_rate": [0.01, 0.02]},
        start_from=[],
    )


def close_sweep(folder: Path) -> None:
    """A trial with views, and one without that learns too slowly to be as good."""
    view, rate = "environments.view", "training.learning_rate"
    finished_sweep(
        folder,
        gates=GATES | {"confidence": 0.9999999},
        trials=2,
        search={view: ["none", "swap"], rate: {"low": 1e-4, "high": 0.1, "log": True}},
        start_from=[{view: "none", rate: 1e-4}, {view: "swap", rate: 0.05}],
    )


def test_a_baseline_that_no_candidate_beats_is_registered_and_named_so(
    client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hampered_sweep(tmp_path)
    assert main(ASKED) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "No candidate is better than the baseline: registered is the ERM baseline (" in printed
    assert "ood_val/mae of the ERM baseline" in printed
    made = client.get_model_version_by_alias(NAME, "champion")
    assert made.tags["baseline"].startswith("the ERM baseline (trial ")
    assert "trial" not in made.tags
    assert str(made.description).startswith("The ERM baseline (")
    assert "none of these was better than the baseline" in str(made.description)
    assert made.run_id is not None
    params = client.get_run(made.run_id).data.params
    assert params["loss.invariance"] == "0.0"
    assert main(["--list"]) == 0
    assert "the baseline is the best" in " ".join(capsys.readouterr().out.split())


def test_a_winner_that_is_not_surely_better_is_a_candidate_at_most(
    client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    close_sweep(tmp_path)
    assert main(ASKED) == 3
    printed = " ".join(capsys.readouterr().out.split())
    assert "refused: ood_val/mae against the ERM baseline: required difference below 0" in printed
    assert "with --alias candidate it can be registered" in printed
    assert list(client.search_registered_models()) == []
    assert main([*ASKED, "--alias", "candidate"]) == 0
    assert client.get_model_version_by_alias(NAME, "candidate").tags["trial"] == "1"


def test_what_is_forced_is_the_winner_of_the_sweep(client: MlflowClient, tmp_path: Path) -> None:
    hampered_sweep(tmp_path)
    assert main([*ASKED, "--force", "--why", "to see it"]) == 0
    made = client.get_model_version_by_alias(NAME, "champion")
    assert "trial" in made.tags
    assert made.tags["forced"] == "ood_val/mae against the ERM baseline"
