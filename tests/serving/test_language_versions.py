"""Registered versions with a language model inside: asked with sentences, in any form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

from cmir.data import DevelopmentData, load_dataset
from cmir.errors import InputError
from cmir.method.language.embedded_dataset import embed
from cmir.method.language.embedding import Embedding, TextEmbedding
from cmir.method.language.pretrained.backbones import find_backbone
from cmir.method.networks.predictions import predict
from cmir.method.training.language_features import features_with_language
from cmir.promotion.comparison import scores_of
from cmir.registry.versions import ensemble_of_version, version
from cmir.serving.language_files import load_language_ensemble, saved_ensemble
from cmir.serving.predictor import Ensemble
from cmir.serving.trained_ensemble import ensemble_of
from tests.support.language_version import SEEDS, finished, register, sentences_of
from tests.support.made_data.learning_data import small_config, trained
from tests.support.small_promotion import open_store
from tests.support.tiny_backbones import LONGEST, SPECIAL, WORDS, write_backbone, write_spoken

URI = "models:/cmir-test@champion"
PARTS: dict[str, dict[str, Any]] = {
    "all": {},
    "top": {"training__backbone_layers": 1},
    "adapters": {"training__backbone_rank": 2},
    "frozen": {"training__backbone_layers": 0},
    "steps": {"training__backbone_layers": 1, "model__unimodal__text": "transformer"},
    "frozen steps": {"training__backbone_layers": 0, "model__unimodal__text": "transformer"},
}


@pytest.mark.parametrize("part", PARTS)
def test_the_saved_files_alone_score_as_the_training_did(
    part: str, spoken: DevelopmentData, tmp_path: Path
) -> None:
    folder = write_backbone(tmp_path / "bert")
    result = finished(spoken, folder, **PARTS[part])
    ensemble = ensemble_of(result, spoken)
    splits = {"ood_val": spoken.ood_val}
    scores = scores_of(ensemble, spoken, splits)["ood_val"]
    errors = np.abs(scores - spoken.ood_val.labels).mean(axis=1)
    np.testing.assert_allclose(errors, result.by_seed["ood_val/mae"], rtol=1e-4)
    paths = saved_ensemble(ensemble, tmp_path / "files")
    loaded = load_language_ensemble(paths)
    for file in (*folder.iterdir(), *(tmp_path / "files").rglob("*.*")):
        file.unlink()
    np.testing.assert_allclose(scores_of(loaded, spoken, splits)["ood_val"], scores, rtol=1e-4)
    asked = loaded.predict(sentences_of(spoken))
    rows = spoken.train.rows[:5]
    features = features_with_language(
        spoken, loaded.card.model, loaded.language, torch.device("cpu")
    )
    named = loaded.network.layout.unpack(loaded.weights)
    direct = predict(loaded.network, named, features, rows, torch.device("cpu")).numpy()
    np.testing.assert_allclose(asked["prediction"], direct.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert asked["text_cut"].tolist() == [False] * 5


def test_a_version_holds_the_pretrained_model_once_and_of_each_seed_what_it_trained(
    spoken: DevelopmentData, backbones: dict[str, Path], tmp_path: Path
) -> None:
    sizes = {}
    for part in ("all", "top", "adapters", "frozen"):
        ensemble = ensemble_of(finished(spoken, backbones["bert"], **PARTS[part]), spoken)
        saved_ensemble(ensemble, tmp_path / part)
        files = [f for f in (tmp_path / part / "language").rglob("*") if f.is_file()]
        sizes[part] = {file.name: file.stat().st_size for file in files}
        assert [file.suffix for file in files if file.suffix in (".bin", ".py", ".pkl")] == []
        assert sum(file.name == "model.safetensors" for file in files) == 1
    trained_size = {part: names.get("trained.safetensors", 0) for part, names in sizes.items()}
    assert trained_size["frozen"] == 0 < trained_size["adapters"] < trained_size["top"]
    assert trained_size["top"] < trained_size["all"]


@dataclass(frozen=True)
class Served:
    model: Any
    ensemble: Ensemble
    data: DevelopmentData


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("language")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        client = open_store(folder, patch)
        data = load_dataset(write_spoken(folder / "data")).development()
        result = finished(data, write_backbone(folder / "bert"), training__backbone_layers=1)
        ensemble = ensemble_of(result, data)
        register(client, ensemble, data)
        yield Served(mlflow.pyfunc.load_model(URI), ensemble, data)


def test_a_registered_version_answers_sentences(served: Served) -> None:
    request = sentences_of(served.data)
    table = served.model.predict(request)
    expected = served.ensemble.predict(request)
    assert list(table.columns) == ["prediction", "std", "text_cut"]
    np.testing.assert_allclose(table["prediction"], expected["prediction"], rtol=1e-4)
    assert table["std"].min() > 0


def test_one_sentence_without_n_is_the_row_of_its_batch(served: Served) -> None:
    batch = served.model.predict(sentences_of(served.data))
    one = served.model.predict(sentences_of(served.data, 2))
    np.testing.assert_allclose(one["prediction"], batch["prediction"][2:3], rtol=1e-4)


def test_ids_as_mmsa_has_them_say_the_same_as_their_sentence(served: Served) -> None:
    request = sentences_of(served.data)
    expected = served.ensemble.predict(request)["prediction"]
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    ids = np.zeros((5, 3, LONGEST))
    for row, text in enumerate(request.pop("raw_text")):
        words = [vocabulary[word] for word in ("[CLS]", *text.split(), "[SEP]")]
        ids[row, 0, : len(words)], ids[row, 1, : len(words)] = words, 1
    found = served.ensemble.predict({**request, "text_bert": ids})
    np.testing.assert_allclose(found["prediction"], expected, rtol=1e-5)
    one = {name: value[1] for name, value in request.items()}
    again = served.ensemble.predict({**one, "text_bert": ids[1]})
    np.testing.assert_allclose(again["prediction"], expected[1:2], rtol=1e-5)


def test_a_sentence_longer_than_the_model_takes_is_cut_and_said_to_be(served: Served) -> None:
    request = sentences_of(served.data)
    request["raw_text"][3] = "very " * (LONGEST + 5)
    found = served.model.predict(request)
    assert found["text_cut"].tolist() == [False, False, False, True, False]


def test_the_distances_of_training_samples_are_within_their_limit(served: Served) -> None:
    found = served.ensemble.predict(sentences_of(served.data, slice(0, 48)), distances=True)
    assert set(found) >= {"outside", "distance_text", "distance_audio", "distance_vision"}
    assert (found["distance_text"] <= served.ensemble.card.distance_limits["text"]).mean() > 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"raw_text": None}, "raw_text: is required, a sentence for each sample"),
        ({"raw_text": ["good", "", "bad", "film", " "]}, "raw_text: a text must not be empty, but"),
        ({"raw_text": ["good", 3, "bad", "a", "a"]}, "must hold a sentence .* but holds int at 1"),
        ({"raw_text": ["good"]}, "same number N of samples"),
        ({"raw_text": "good"}, "raw_text came as one sample, but audio, vision as a batch"),
        ({"text": [[[1.0]]]}, "text: this model reads the sentences itself"),
        ({"text_lengths": [1]}, "text_lengths: this model reads the sentences itself"),
        ({"text_bert": [[[1], [1], [0]]]}, "raw_text and text_bert both came"),
        ({"raw_text": None, "text_bert": [[1, 2]]}, r"whole numbers of shape \(N, 3, T\)"),
        ({"raw_text": None, "text_bert": [[[9999], [1], [0]]] * 5}, "must hold ids below 163"),
        ({"words": ["good"]}, "'words' is no input of this model"),
    ],
)
def test_what_is_no_sentence_is_refused_with_what_to_give(
    change: dict[str, Any], message: str, served: Served
) -> None:
    # The version's own copy of the code raises its own error.
    with pytest.raises(ValueError, match=message):
        served.model.predict({**sentences_of(served.data), **change})


def test_a_model_of_text_alone_answers_a_bare_sentence(
    spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    result = finished(spoken, backbones["bert"], model__modalities=("text",))
    ensemble = ensemble_of(result, spoken)
    wanted = ensemble.predict({"raw_text": ["a good film", "bad"]})["prediction"]
    for asked in (["a good film", "bad"], np.array(["a good film", "bad"])):
        np.testing.assert_allclose(ensemble.predict(asked)["prediction"], wanted)
    one = ensemble.predict("a good film")["prediction"]
    np.testing.assert_allclose(one, wanted[:1], rtol=1e-5)


def test_a_sentence_may_be_left_out_where_its_absence_was_trained(
    spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    erased: dict[str, Any] = {
        "environments__view": "erase",
        "environments__rate__text": 0.5,
        "environments__rate__audio": 0.0,
        "environments__rate__vision": 0.0,
    }
    for part in ("top", "steps"):
        result = finished(spoken, backbones["bert"], **erased, **PARTS[part])
        ensemble = ensemble_of(result, spoken)
        request = sentences_of(spoken)
        with_text = ensemble.predict(request)["prediction"]
        del request["raw_text"]
        found = ensemble.predict(request, distances=True)
        assert not np.allclose(found["prediction"], with_text)
        assert "distance_text" not in found


def test_a_model_of_features_says_so_when_asked_with_a_sentence(spoken: DevelopmentData) -> None:
    ensemble = ensemble_of(trained(spoken, small_config(SEEDS, training__epochs=1)), spoken)
    with pytest.raises(InputError, match="raw_text: this model was trained on features of every"):
        ensemble.predict({"raw_text": ["good"]})


def test_reading_a_version_gives_what_was_registered(served: Served) -> None:
    client = mlflow.MlflowClient()
    again = ensemble_of_version(version(client, "cmir-test", "champion"))
    assert again.card == served.ensemble.card
    scores = [
        scores_of(one, served.data, {"id_val": served.data.id_val})["id_val"]
        for one in (again, served.ensemble)
    ]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-4)


def test_changed_weights_of_the_language_model_are_refused(
    spoken: DevelopmentData, backbones: dict[str, Path], tmp_path: Path
) -> None:
    ensemble = ensemble_of(finished(spoken, backbones["bert"], **PARTS["top"]), spoken)
    paths = saved_ensemble(ensemble, tmp_path)
    (weights,) = (tmp_path / "language").rglob("model.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4])
    with pytest.raises(InputError, match=r"model\.safetensors: must have the sha256 .* changed or"):
        load_language_ensemble(paths)
    weights.unlink()
    with pytest.raises(InputError, match="was deleted since the model was registered"):
        load_language_ensemble(paths)


@pytest.fixture
def embedded(tmp_path: Path) -> tuple[DevelopmentData, Path]:
    """The spoken data with the vectors of a frozen model as text, and the folder of the model."""
    folder = write_backbone(tmp_path / "bert")
    source = write_spoken(tmp_path / "spoken")
    made = embed(source, tmp_path / "embedded", Embedding(find_backbone(str(folder))))
    return load_dataset(made).development(), folder


def test_a_model_of_embedded_texts_takes_sentences_too(
    embedded: tuple[DevelopmentData, Path], tmp_path: Path
) -> None:
    data, folder = embedded
    ensemble = ensemble_of(trained(data, small_config(SEEDS, training__epochs=1)), data)
    assert isinstance(ensemble.embeddings["text"], TextEmbedding)
    loaded = load_language_ensemble(saved_ensemble(ensemble, tmp_path / "files"))
    for file in folder.iterdir():
        file.unlink()
    request = sentences_of(data)
    text, rows = data.modalities["text"], data.train.rows[:5]
    vectors = {
        "text": np.array(text.array[rows]),
        "text_lengths": np.asarray(text.lengths)[rows],
        **{name: value for name, value in request.items() if name != "raw_text"},
    }
    expected = loaded.predict(vectors)
    np.testing.assert_allclose(
        loaded.predict(request)["prediction"], expected["prediction"], rtol=1e-2, atol=1e-3
    )
    one = loaded.predict(sentences_of(data, 1))["prediction"]
    np.testing.assert_allclose(one, expected["prediction"][1:2], rtol=1e-2, atol=1e-3)
    with pytest.raises(InputError, match="text and raw_text both came"):
        loaded.predict(vectors | {"raw_text": request["raw_text"]})


def test_without_the_same_weights_embedded_texts_stay_features(
    embedded: tuple[DevelopmentData, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = embedded
    monkeypatch.chdir(tmp_path)
    for file in folder.iterdir():
        file.unlink()
    write_backbone(folder, seed=5)
    ensemble = ensemble_of(trained(data, small_config(SEEDS, training__epochs=1)), data)
    assert not ensemble.embeddings
    with pytest.raises(InputError, match=r"raw_text: .* text came from 'bert' \(SHA-256 \w{12}\)"):
        ensemble.predict(sentences_of(data))
    card = json.loads(Path(saved_ensemble(ensemble, tmp_path / "files")["card"]).read_text())
    assert card["language"]["text"]["folder"] is None
