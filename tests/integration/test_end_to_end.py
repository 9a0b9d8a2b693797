"""The README's story: sweep without data, promote, load and predict, as a newcomer would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.support.small_sweep import SMALL, write_space
from tests.support.tiny_backbones import write_spoken

ROOT = Path(__file__).resolve().parents[2]

USE = """
import mlflow, numpy as np
model = mlflow.pyfunc.load_model("models:/cmir-mosei-synthetic@candidate")
rng = np.random.default_rng(0)
batch = {
    "text": rng.normal(size=(3, 20, 768)),
    "audio": rng.normal(size=(3, 74)).astype(np.float16),
    "vision": rng.normal(size=(3, 35)).tolist(),
    "text_lengths": [20, 3, 1],
}
table = model.predict(batch)
one = model.predict({name: np.asarray(batch[name][0]) for name in ("text", "audio", "vision")})
assert list(table.columns) == ["prediction", "std"] and len(table) == 3 and len(one) == 1
np.testing.assert_allclose(one.prediction[0], table.prediction[0], rtol=1e-4, atol=1e-5)
print("predicted")
"""


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | environment,
    )


def workflow(folder: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return run(folder, str(ROOT / "workflows" / f"{name}.py"), *words)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_main_job_runs_without_data_and_its_model_predicts(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "search_spaces", tmp_path / "search_spaces")
    space = ("--space", "search_spaces/mosei.yaml")
    swept = workflow(tmp_path, "sweep", *space, "--trials", "4", "--epochs", "5", "--seeds", "2")
    assert swept.returncode == 0, swept.stdout + swept.stderr
    assert "SYNTHETIC DATA" in swept.stdout
    assert "leaderboard of mosei-synthetic" in swept.stdout
    assert "python workflows/promote.py --sweep mosei-synthetic" in swept.stdout
    assert "Traceback" not in swept.stderr

    # Four short trials make nothing surely better than the baseline: a candidate at most.
    asked = ("--top", "2", "--seeds", "3", "--alias", "candidate")
    promoted = workflow(tmp_path, "promote", *asked)
    assert promoted.returncode == 0, promoted.stdout + promoted.stderr
    assert "cmir-mosei-synthetic" in promoted.stdout

    used = run(tmp_path, "-c", USE, MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false")
    assert used.returncode == 0, used.stderr
    assert used.stdout.strip().endswith("predicted")


@pytest.mark.slow
def test_real_features_go_from_a_pickle_into_a_sweep(tmp_path: Path, mosi_file: Path) -> None:
    prepared = workflow(tmp_path, "prepare", "mmsa", str(mosi_file), "data/mosi")
    assert prepared.returncode == 0, prepared.stderr
    assert "held out: not shown" in prepared.stdout
    shutil.copytree(ROOT / "search_spaces", tmp_path / "search_spaces")
    space = ("--space", "search_spaces/mosi.yaml")
    swept = workflow(tmp_path, "sweep", *space, "--trials", "2", "--epochs", "2", "--seeds", "2")
    assert swept.returncode == 0, swept.stdout + swept.stderr
    assert "leaderboard of mosi" in swept.stdout


@pytest.mark.slow
def test_a_sweep_fine_tunes_a_language_model(tmp_path: Path, backbones: dict[str, Path]) -> None:
    write_spoken(tmp_path / "data" / "small")
    language_model = {"model.backbone.text": str(backbones["deberta-v2"])}
    search = {
        "training.backbone_learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
        "training.backbone_batch_size": [5, 16],
    }
    space = write_space(
        tmp_path,
        fixed={**SMALL["fixed"], **language_model},
        search=search,
        start_from=[],
        trials=2,
        epochs=2,
    )
    swept = workflow(tmp_path, "sweep", "--space", str(space))
    assert swept.returncode == 0, swept.stdout + swept.stderr
    assert "leaderboard of small" in swept.stdout
    (kept, *_) = sorted((tmp_path / "mlruns" / "studies" / "small.weights").iterdir())
    assert any(name.startswith("backbone.1.text.") for name in load_file(kept))


def test_the_commands_of_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    lines = [line.split("#")[0].strip() for line in readme.splitlines()]
    targets = {line.split()[1] for line in lines if line.startswith("make ")}
    files = {word for line in lines if line.startswith("python ") for word in line.split()[1:]}
    scripts = {word for word in files if word.startswith(("workflows/", "search_spaces/"))}
    assert targets >= {"sweep", "test"}
    assert all(f"\n{target}:" in makefile for target in targets)
    assert scripts >= {"workflows/prepare.py", "workflows/sweep.py", "workflows/promote.py"}
    assert all((ROOT / script).is_file() for script in scripts)


def test_without_a_sweep_there_is_nothing_to_promote(tmp_path: Path) -> None:
    done = workflow(tmp_path, "promote")
    assert done.returncode == 2
    assert "there is no sweep to promote" in done.stderr
    assert "Traceback" not in done.stderr
