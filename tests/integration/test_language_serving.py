"""A version with a language model: asked over HTTP, and loaded where the project is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from mlflow import MlflowClient

from benchmarks.support.model_server import model_server, post
from cmir.data import DevelopmentData, load_dataset
from cmir.serving.predictor import Ensemble
from cmir.serving.trained_ensemble import ensemble_of
from tests.integration.test_version_without_project import outside as outside
from tests.support.language_version import NAME, finished, register, sentences_of
from tests.support.small_promotion import open_store
from tests.support.tiny_backbones import write_backbone, write_spoken

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
URI = f"models:/{NAME}@champion"
PREDICT = """
import importlib.util, json, sys
assert importlib.util.find_spec("cmir") is None, "the project is within reach"
import mlflow
model = mlflow.pyfunc.load_model("models:/cmir-test@champion")
print(model.predict(json.load(open("request.json"))).to_json(double_precision=15))
"""


def made(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> tuple[MlflowClient, DevelopmentData, Ensemble]:
    client = open_store(folder, monkeypatch)
    data = load_dataset(write_spoken(folder / "data")).development()
    backbone = write_backbone(folder / "bert")
    ensemble = ensemble_of(finished(data, backbone, **changes), data)
    register(client, ensemble, data)
    for file in backbone.iterdir():
        file.unlink()
    return client, data, ensemble


def body(request: Any) -> bytes:
    if isinstance(request, dict):
        request = {name: np.asarray(value).tolist() for name, value in request.items()}
    return json.dumps({"inputs": request}).encode()


def test_sentences_over_http_are_answered_or_refused_with_400(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, data, ensemble = made(tmp_path, monkeypatch, training__backbone_layers=1)
    batch, one = sentences_of(data), sentences_of(data, 2)
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with model_server(URI, tmp_path / "server.log", settings) as url:
        for request in (batch, one):
            status, text = post(url, body(request))
            assert status == 200, text
            found = pd.DataFrame(json.loads(text)["predictions"])
            expected = pd.DataFrame(ensemble.predict(request))
            pd.testing.assert_frame_equal(found, expected, rtol=1e-4)
        without = {name: value for name, value in batch.items() if name != "raw_text"}
        refused = {
            "raw_text: is required": without,
            "raw_text: a text must not be empty": {**batch, "raw_text": [""] * 5},
            "text: this model reads the sentences itself": {**without, "text": [[1.0]]},
            "must have the same number N": {**batch, "raw_text": ["good"]},
        }
        for reason, request in refused.items():
            status, text = post(url, body(request))
            assert (status, reason in text, "Traceback" in text) == (400, True, False), text


def test_a_model_of_text_alone_answers_bare_sentences_over_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, ensemble = made(tmp_path, monkeypatch, model__modalities=("text",))
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    sentences = ["a good film", "bad"]
    expected = ensemble.predict(sentences)["prediction"]
    with model_server(URI, tmp_path / "server.log", settings) as url:
        for request in (sentences, {"raw_text": sentences}):
            status, text = post(url, body(request))
            assert status == 200, text
            found = [row["prediction"] for row in json.loads(text)["predictions"]]
            np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_it_answers_in_a_process_that_has_neither_the_project_nor_the_models_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside: Path
) -> None:
    _, data, ensemble = made(tmp_path, monkeypatch, training__backbone_rank=2)
    request = sentences_of(data)
    lists = {name: np.asarray(value).tolist() for name, value in request.items()}
    (tmp_path / "request.json").write_text(json.dumps(lists))
    done = subprocess.run(
        [str(outside), "-c", PREDICT],
        cwd=tmp_path,
        env={
            "PATH": str(Path(sys.executable).parent),
            "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    expected = ensemble.predict(request)
    for name in ("prediction", "std"):
        np.testing.assert_allclose(list(found[name].values()), expected[name], rtol=1e-5)
    (file,) = tmp_path.glob("mlruns/*/models/*/artifacts/requirements.txt")
    required = {line.partition("==")[0] for line in file.read_text().splitlines()}
    assert {"transformers", "safetensors", "torch"} <= required
    assert not {"ray", "optuna", "polars"} & required
