"""From a CSV with names of classes to an answer over HTTP with these names, by the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.support.model_server import model_server, post
from tests.integration.test_end_to_end import ROOT, workflow

NAMES = ["anger", "joy", "neutral", "sadness"]
COUNT = 480

SPACE = """
name: moods
data: {path: data/moods}
objective: ood_val/macro_f1
trials: 3
seeds: 2
epochs: 8
fixed:
  model.representation_size: 16
  model.hidden_size: 16
  training.learning_rate: 0.01
  training.batch_size: 32
search:
  environments.view: [none, swap]
  loss.class_weights: [none, balanced]
early_stopping: {enabled: false}
gates: {finished_trials: 2, against_plain: none}
"""


def write_features(folder: Path) -> Path:
    """A table with a mood, a speaker and a split for each sample, and two arrays."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    label = rng.choice(4, COUNT, p=[0.2, 0.25, 0.4, 0.15])
    centres = rng.normal(size=(4, 12))
    text = centres[label] + rng.normal(size=(COUNT, 12))
    audio = 0.4 * centres[label][:, None, :6] + rng.normal(size=(COUNT, 10, 6))
    np.save(folder / "text.npy", text.astype(np.float32))
    np.save(folder / "audio.npy", audio.astype(np.float32))
    splits = ["train"] * 16 + ["valid"] * 4 + ["test"] * 4
    pl.DataFrame(
        {
            "id": [f"s{i}" for i in range(COUNT)],
            "split": [splits[i % 24] for i in range(COUNT)],
            "label": [NAMES[number] for number in label],
            "speaker": [f"speaker{i // 24}" for i in range(COUNT)],
        }
    ).write_csv(folder / "samples.csv")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_csv_with_moods_becomes_a_server_that_answers_with_moods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = write_features(tmp_path / "moods")
    prepared = workflow(tmp_path, "prepare", "folder", "moods", "data/moods")
    assert prepared.returncode == 0, prepared.stderr
    assert "classes, anger, joy, neutral, sadness" in prepared.stdout

    (tmp_path / "moods.yaml").write_text(SPACE)
    swept = workflow(tmp_path, "sweep", "--space", "moods.yaml")
    assert swept.returncode == 0, swept.stdout + swept.stderr
    assert "leaderboard of moods" in swept.stdout

    promoted = workflow(tmp_path, "promote", "--sweep", "moods", "--top", "1", "--seeds", "3")
    assert promoted.returncode == 0, promoted.stdout + promoted.stderr
    assert "ood_test/f1_sadness" in promoted.stdout

    again = workflow(tmp_path, "predict", "data/moods", "--split", "ood_test", "--out", "told.csv")
    assert again.returncode == 0, again.stderr
    told = pl.read_csv(tmp_path / "told.csv")
    assert set(told["prediction"].unique()) <= set(NAMES)
    total = told.select(pl.sum_horizontal([f"probability_{name}" for name in NAMES])).to_series()
    np.testing.assert_allclose(total.to_numpy(), 1, atol=1e-6)

    monkeypatch.chdir(tmp_path)
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    uri = "models:/cmir-moods@champion"
    request = {name: np.load(features / f"{name}.npy")[:2].tolist() for name in ("text", "audio")}
    with model_server(uri, tmp_path / "server.log", settings) as url:
        status, text = post(url, json.dumps({"inputs": request}).encode())
    assert status == 200, text
    answers = json.loads(text)["predictions"]
    assert [answer["prediction"] in NAMES for answer in answers] == [True, True]
    assert answers[0]["probability_joy"] + answers[0]["probability_anger"] <= 1
