"""The commands on a version with a language model: sentences scored from files and folders."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import polars as pl
import pytest

from cmir.commands.predict_command import main
from cmir.data import load_dataset
from cmir.method.language.embedded_dataset import embed
from cmir.method.language.embedding import Embedding
from cmir.method.language.pretrained.backbones import find_backbone
from cmir.serving.trained_ensemble import ensemble_of
from tests.support.language_version import SEEDS, finished, register, sentences_of
from tests.support.made_data.learning_data import small_config, trained
from tests.support.small_promotion import open_store
from tests.support.tiny_backbones import LONGEST, write_backbone, write_spoken


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    open_store(tmp_path, monkeypatch)
    return tmp_path


def test_a_folder_with_raw_text_and_a_file_of_sentences_are_scored(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_dataset(write_spoken(folder / "data")).development()
    ensemble = ensemble_of(finished(data, write_backbone(folder / "bert")), data)
    register(mlflow.MlflowClient(), ensemble, data)
    assert main(["data", "--split", "train", "--out", "all.csv"]) == 0
    request = sentences_of(data)
    table = pl.read_csv(folder / "all.csv").head(5)
    expected = ensemble.predict(request)["prediction"]
    np.testing.assert_allclose(table["prediction"].to_numpy(), expected, rtol=1e-4)
    request["raw_text"][1] = "good " * (LONGEST + 1)
    lists = {name: np.asarray(value).tolist() for name, value in request.items()}
    (folder / "asked.json").write_text(json.dumps({"inputs": lists}))
    capsys.readouterr()
    assert main(["asked.json"]) == 0
    assert "1 of 5 sentences were longer than the language model takes" in capsys.readouterr().out


def test_a_json_list_of_sentences_is_enough_for_a_model_of_text_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_dataset(write_spoken(folder / "data")).development()
    alone = finished(data, write_backbone(folder / "bert"), model__modalities=("text",))
    register(mlflow.MlflowClient(), ensemble_of(alone, data), data)
    (folder / "asked.json").write_text('["a good film", "bad"]')
    assert main(["asked.json", "--out", "out.json"]) == 0
    assert len(json.loads((folder / "out.json").read_text())) == 2
    (folder / "asked.json").write_text('["", "bad"]')
    assert main(["asked.json"]) == 2
    assert "raw_text: a text must not be empty, but is for 1 sample: 0" in capsys.readouterr().err


def test_a_version_of_embedded_texts_scores_the_folder_that_they_were_made_of(
    folder: Path,
) -> None:
    source = write_spoken(folder / "data")
    backbone = find_backbone(str(write_backbone(folder / "bert")))
    data = load_dataset(embed(source, folder / "embedded", Embedding(backbone))).development()
    result = trained(data, small_config(SEEDS, training__epochs=1))
    register(mlflow.MlflowClient(), ensemble_of(result, data), data)
    for name in ("data", "embedded"):
        assert main([name, "--out", f"{name}.csv"]) == 0
    one, other = (pl.read_csv(folder / f"{name}.csv") for name in ("data", "embedded"))
    np.testing.assert_allclose(one["prediction"], other["prediction"], rtol=1e-2, atol=1e-3)
