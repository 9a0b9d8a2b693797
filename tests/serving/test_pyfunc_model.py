"""The registered model: raw arrays in, a table out, in any form a user has them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
import torch
from mlflow.models import validate_schema
from mlflow.pyfunc import scoring_server

from cmir.data import DevelopmentData, load_dataset
from cmir.data.task import SENTIMENT, Task
from cmir.errors import InputError
from cmir.method.networks.features import load_features
from cmir.method.networks.predictions import predict
from cmir.registry.model_registry import Registry, promotion_run
from cmir.serving.outputs import averaged
from cmir.serving.predictor import Ensemble, load_ensemble
from cmir.serving.trained_ensemble import ensemble_of
from tests.support.made_data.learning_data import small_config, trained, write_learning
from tests.support.small_promotion import open_store

SEEDS = (3, 4)
URI = "models:/cmir-test@champion"


@dataclass(frozen=True)
class Served:
    """A model loaded from the registry, what was registered, and its data."""

    model: Any
    ensemble: Ensemble
    data: DevelopmentData
    store: str

    def request(self, rows: Any = slice(0, 6), lengths: bool = True) -> dict[str, np.ndarray]:
        parts = self.data.modalities.values()
        request = {part.name: np.array(part.array[rows]) for part in parts}
        if lengths:
            request |= {
                f"{part.name}_lengths": part.lengths[rows]
                for part in parts
                if part.lengths is not None
            }
        return request


def make(folder: Path, task: str = "regression", seeds: tuple[int, ...] = SEEDS) -> Ensemble:
    data = load_dataset(write_learning(folder, task=task)).development()
    changes = {"objective": "ood_val/accuracy"} if task == "binary" else {}
    config = small_config(seeds).model_copy(update=changes)
    return ensemble_of(trained(data, config), data)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        client = open_store(folder, patch)
        data = load_dataset(write_learning(folder / "data")).development()
        ensemble = ensemble_of(trained(data, small_config(SEEDS)), data)
        registry = Registry(client, "cmir-test")
        registry.accesses()
        with promotion_run(client, "test", "test", None) as run:
            registry.register(run, ensemble, data, {}, {}, "A test.", "champion")
        store = f"sqlite:///{folder}/mlflow.db"
        yield Served(mlflow.pyfunc.load_model(URI), ensemble, data, store)


def test_it_predicts_what_evaluation_predicts(served: Served) -> None:
    ensemble, rows = served.ensemble, np.arange(30, 90)
    features = load_features(served.data, ensemble.card.model, torch.device("cpu"))
    named = ensemble.network.layout.unpack(ensemble.weights)
    scores = predict(ensemble.network, named, features, rows, torch.device("cpu")).numpy()
    table = served.model.predict(served.request(rows))
    assert list(table.columns) == ["prediction", "std"]
    np.testing.assert_allclose(table["prediction"], scores.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(table["std"], scores.std(axis=0, ddof=1), rtol=1e-4, atol=1e-7)


def test_every_modality_kind_is_served(served: Served) -> None:
    kinds = {name: part.kind for name, part in served.ensemble.card.modalities.items()}
    assert kinds == {"audio": "transformer", "text": "pool", "vision": "mlp"}


def test_one_sample_without_n_is_the_row_of_its_batch(served: Served) -> None:
    batch = served.model.predict(served.request())
    for row in range(3):
        one = served.model.predict(served.request(row))
        assert len(one) == 1
        np.testing.assert_allclose(one.iloc[0], batch.iloc[row], rtol=1e-5)


def test_vectors_may_come_with_one_step_as_data_files_have_them(served: Served) -> None:
    request, expected = served.request(), served.model.predict(served.request())
    stepped = request | {"vision": request["vision"][:, None]}
    pd.testing.assert_frame_equal(served.model.predict(stepped), expected)
    one = served.request(2) | {"vision": request["vision"][2:3]}
    np.testing.assert_allclose(served.model.predict(one), expected.iloc[2:3], rtol=1e-5)


@pytest.mark.parametrize("kind", ["float64", "lists", "integers of lengths as floats", "tensors"])
def test_numbers_of_any_kind_give_the_same_predictions(served: Served, kind: str) -> None:
    request: dict[str, Any] = dict(served.request())
    expected = served.model.predict(request)
    for name, value in request.items():
        if kind == "lists":
            request[name] = value.tolist()
        elif kind == "float64" and not name.endswith("_lengths"):
            request[name] = value.astype(np.float64)
        elif kind == "tensors":
            request[name] = torch.from_numpy(value)
        elif name.endswith("_lengths"):
            request[name] = value.astype(float)
    pd.testing.assert_frame_equal(served.model.predict(request), expected)


def test_half_precision_is_taken(served: Served) -> None:
    request = served.request()
    half = {k: v if k.endswith("_lengths") else v.astype(np.float16) for k, v in request.items()}
    expected = served.model.predict(request)["prediction"]
    np.testing.assert_allclose(served.model.predict(half)["prediction"], expected, atol=0.01)


def test_the_request_is_not_changed(served: Served) -> None:
    request = served.request()
    before = {name: value.copy() for name, value in request.items()}
    served.model.predict(request)
    for name, value in request.items():
        np.testing.assert_array_equal(value, before[name])


def test_longer_padding_changes_nothing(served: Served) -> None:
    request = served.request()
    padded = {
        name: np.pad(value, ((0, 0), (0, 3), (0, 0)), constant_values=9.0)
        if value.ndim == 3
        else value
        for name, value in request.items()
    }
    expected = served.model.predict(request)
    pd.testing.assert_frame_equal(served.model.predict(padded), expected, rtol=1e-4)


@pytest.mark.parametrize("in_front", [False, True])
def test_padding_changes_no_prediction(served: Served, in_front: bool) -> None:
    request = served.request(slice(0, 20))
    wanted = served.model.predict(request, params={"distances": True})
    padded = dict(request)
    for name in ("text", "audio"):
        lengths, values = request[f"{name}_lengths"], request[name]
        padded[name] = np.zeros((len(values), values.shape[1] + 3, values.shape[2]), np.float32)
        for row, length in enumerate(lengths):
            place = padded[name].shape[1] - length if in_front else 0
            padded[name][row, place : place + length] = values[row, :length]
    bare = {name: value for name, value in padded.items() if not name.endswith("_lengths")}
    for asked in (padded, bare):
        found = served.model.predict(asked, params={"distances": True})
        pd.testing.assert_frame_equal(found, wanted, rtol=0, atol=1e-6)
    alone = served.model.predict({name: value[3] for name, value in bare.items()})
    assert abs(alone["prediction"][0] - wanted["prediction"][3]) < 1e-6


def test_without_lengths_every_step_is_valid(served: Served) -> None:
    request = served.request(lengths=False)
    full = served.model.predict(request)
    steps = {"text_lengths": request["text"].shape[1], "audio_lengths": request["audio"].shape[1]}
    pd.testing.assert_frame_equal(served.model.predict(request | steps), full)
    assert not np.allclose(full["prediction"], served.model.predict(served.request())["prediction"])


def test_permuting_the_batch_permutes_the_predictions(served: Served) -> None:
    order = np.array([4, 0, 5, 2, 1, 3])
    expected = served.model.predict(served.request()).iloc[order].reset_index(drop=True)
    found = served.model.predict(served.request(order))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4)


def test_a_table_holds_one_sample_a_row(served: Served) -> None:
    request = served.request()
    rows = [{name: value[row] for name, value in request.items()} for row in range(6)]
    expected = served.model.predict(request)
    pd.testing.assert_frame_equal(served.model.predict(pd.DataFrame(rows)), expected)
    one = served.model.predict(pd.DataFrame(rows[:1]))
    pd.testing.assert_frame_equal(one, expected.iloc[:1], rtol=1e-4)


def test_no_samples_give_no_predictions(served: Served) -> None:
    table = served.model.predict(served.request(slice(0, 0)))
    assert len(table) == 0
    assert list(table.columns) == ["prediction", "std"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": None}, r"audio: is required, of shape \(N, T, 4\), or \(T, 4\) for one"),
        ({"smell": [1.0]}, r"'smell' is no input of this model\. Known: audio, text, vision"),
        ({"text_length": [1] * 6}, r"'text_length' is no input.*Did you mean 'text_lengths'"),
        ({"vision_lengths": [1] * 6}, r"'vision_lengths' is no input of this model"),
        ({"text": np.zeros((6, 4, 7))}, r"text: must be of shape \(N, T, 5\).*\(6, 4, 7\)"),
        ({"text": np.zeros((6, 0, 5))}, r"text: must be of shape .*has shape \(6, 0, 5\)"),
        ({"vision": np.zeros((6, 2, 3))}, r"vision: must be of shape \(N, 3\), or \(3,\) for one"),
        ({"vision": np.zeros(())}, r"vision: must be of shape .*has shape \(\)"),
        ({"vision": np.zeros((5, 3))}, r"same number N of samples, but got .*vision 5"),
        ({"vision": np.zeros(3)}, r"vision came as one sample, but audio, text as a batch"),
        ({"vision": np.full((6, 3), np.nan)}, r"vision: must hold finite .* holds nan at \[0, 0\]"),
        ({"vision": np.full((6, 3), 1e300)}, r"vision: must hold finite numbers, but holds inf"),
        ({"vision": [["a", "b", "c"]] * 6}, r"vision: must hold numbers, but holds <U1"),
        ({"text": [[[1.0] * 5] * n for n in range(1, 7)]}, r"text: .*rows differ.*text_lengths"),
        ({"text_lengths": [0] * 6}, r"text_lengths: must be 6 whole numbers.*from 1 to 4"),
        ({"text_lengths": [5] * 6}, r"text_lengths: .*the steps of text, but got \[5, 5"),
        ({"text_lengths": [1.5] * 6}, r"text_lengths: must be 6 whole numbers"),
        ({"text_lengths": [1] * 5}, r"text_lengths: must be 6 whole numbers, or one for all"),
        ({"text_lengths": "all"}, r"text_lengths: must be 6 whole numbers"),
    ],
)
def test_a_wrong_request_is_refused_by_name(
    served: Served, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        served.model.predict(served.request() | change)


def test_what_is_neither_dict_nor_table_is_refused(served: Served) -> None:
    with pytest.raises(ValueError, match=r"must be a dict with audio, text, vision.*got ndarray"):
        served.model.predict(np.zeros((3, 3)))


def test_the_signature_names_every_input_and_lets_every_form_through(served: Served) -> None:
    schema = served.model.metadata.get_input_schema()
    assert schema.required_input_names() == ["audio", "text", "vision"]
    assert schema.optional_input_names() == ["audio_lengths", "text_lengths"]
    for request in (served.request(), served.request(2, lengths=False), served.request(1)):
        validate_schema(request, schema)
        validate_schema({name: np.asarray(v).tolist() for name, v in request.items()}, schema)


def test_the_documented_shapes_travel_with_the_model(served: Served) -> None:
    told = served.model.metadata.metadata["inputs"]
    assert told["text"] == "(N, T, 5), or (T, 5) for one sample"
    assert told["vision"] == "(N, 3), or (3,) for one sample"


def test_its_own_example_is_a_valid_request(served: Served) -> None:
    assert len(served.model.predict(served.model.input_example)) == 2


@pytest.mark.parametrize("rows", [slice(0, 6), 2])
def test_a_scoring_server_takes_it_as_json(served: Served, rows: Any) -> None:
    request = {name: np.asarray(value).tolist() for name, value in served.request(rows).items()}
    schema = served.model.metadata.get_input_schema()
    body = json.dumps({"inputs": request})
    answer = scoring_server.invocations(  # type: ignore[no-untyped-call]
        body, "application/json", served.model, schema
    )
    found = pd.DataFrame(json.loads(answer.response)["predictions"])
    pd.testing.assert_frame_equal(found, served.model.predict(served.request(rows)), rtol=1e-5)


def test_a_registered_model_holds_no_pickle(served: Served, tmp_path: Path) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(URI, dst_path=str(tmp_path)))
    files = [path for path in folder.rglob("*") if path.is_file()]
    allowed = {".json", ".safetensors", ".py", ".yaml", ".txt", ""}
    assert {path.suffix for path in files} <= allowed
    assert {path.name for path in files if path.suffix == ""} <= {
        "MLmodel",
        "registered_model_meta",
    }


@pytest.mark.slow
def test_it_loads_in_a_process_of_its_own_with_pickle_switched_off(
    served: Served, tmp_path: Path
) -> None:
    lists = {name: value.tolist() for name, value in served.request().items()}
    (tmp_path / "request.json").write_text(json.dumps(lists))
    program = (
        "import json, mlflow, sys\n"
        f"model = mlflow.pyfunc.load_model({URI!r})\n"
        "table = model.predict(json.load(open('request.json')))\n"
        "print(table.to_json(double_precision=15))\n"
        "print(sorted({'ray', 'optuna'} & set(sys.modules)))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={
            "MLFLOW_TRACKING_URI": served.store,
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    table, libraries = finished.stdout.splitlines()
    found = pd.DataFrame(json.loads(table))
    expected = served.model.predict(served.request())
    np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), rtol=1e-5)
    assert libraries == "[]"


@pytest.mark.slow
def test_predicting_needs_neither_mlflow_nor_the_sweep() -> None:
    program = (
        "import sys, cmir.serving.predictor\n"
        "print(sorted({'ray', 'optuna', 'mlflow'} & set(sys.modules)))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "[]"


def test_what_is_saved_is_what_is_loaded(served: Served, tmp_path: Path) -> None:
    loaded = load_ensemble(served.ensemble.save(tmp_path))
    assert loaded.card == served.ensemble.card
    for name, values in served.ensemble.predict(served.request()).items():
        np.testing.assert_array_equal(loaded.predict(served.request())[name], values)


def test_a_single_seed_has_no_spread(tmp_path: Path) -> None:
    ensemble = make(tmp_path / "data", seeds=(5,))
    columns = ensemble.predict(
        {"text": np.ones((4, 5)), "audio": np.ones((4, 4)), "vision": [0] * 3}
    )
    assert columns["std"].tolist() == [0.0]


def test_a_binary_model_tells_class_and_probability(tmp_path: Path) -> None:
    ensemble = make(tmp_path / "data", task="binary")
    one = {"text": np.ones((4, 5)), "audio": np.ones((4, 4)), "vision": np.ones(3)}
    assert list(ensemble.predict(one)) == ["prediction", "std", "probability"]
    logits = np.array([[2.0, -1.0, 0.0], [0.5, -3.0, 0.0]])
    votes = 1 / (1 + np.exp(-logits))
    columns = ensemble.columns(logits)
    assert columns["prediction"].tolist() == [1, 0, 1]
    np.testing.assert_allclose(columns["probability"], votes.mean(axis=0))
    np.testing.assert_allclose(columns["std"], votes.std(axis=0, ddof=1))


def test_what_is_scored_is_what_is_served() -> None:
    logits = np.array([[2.0, -1.0], [0.0, -3.0]])
    probability = (1 / (1 + np.exp(-logits))).mean(axis=0)
    together = averaged(logits, Task("binary"))
    np.testing.assert_allclose(1 / (1 + np.exp(-together)), probability[None])
    np.testing.assert_array_equal(averaged(logits, SENTIMENT), [[1.0, -2.0]])
    assert np.isfinite(averaged(np.array([[900.0, -900.0]]), Task("binary"))).all()


def test_the_model_file_says_the_task_in_the_words_of_the_data_set(
    served: Served, tmp_path: Path
) -> None:
    paths = served.ensemble.save(tmp_path)
    recorded = json.loads(Path(paths["card"]).read_text(encoding="utf-8"))
    assert list(recorded)[:3] == ["format", "task", "label_range"]
    assert (recorded["task"], recorded["label_range"]) == ("regression", [-3.0, 3.0])
    assert load_ensemble(paths).card.task == SENTIMENT


@pytest.mark.parametrize("name", ["weights", "standardisation"])
def test_a_file_that_was_changed_since_it_was_registered_is_not_loaded(
    name: str, served: Served, tmp_path: Path
) -> None:
    paths = served.ensemble.save(tmp_path)
    assert load_ensemble(paths).card == served.ensemble.card
    content = bytearray(Path(paths[name]).read_bytes())
    content[-1] ^= 1
    Path(paths[name]).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.safetensors: must have the sha256 .* promote"):
        load_ensemble(paths)


def test_a_prediction_that_is_not_finite_is_refused_and_never_served(served: Served) -> None:
    fine = {name: std * 1e-20 for name, std in served.ensemble.std.items()}
    request = {name: value * (1 if "_" in name else 0) for name, value in served.request().items()}
    ensemble = replace(served.ensemble, std=fine, mean={n: 0 * m for n, m in fine.items()})
    ensemble.predict(request)
    request["text"][2] = 1e30
    with pytest.raises(InputError, match=r"is not for 1 of 6 samples, at 2: text lies .* units of"):
        ensemble.predict(request)


def test_weights_that_are_not_finite_are_told_as_such(served: Served) -> None:
    broken = replace(served.ensemble, weights=served.ensemble.weights * float("nan"))
    with pytest.raises(InputError, match="weights of this model are not finite"):
        broken.predict(served.request())
