"""A language model and named classes in one version: a sentence in, a name out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmir.data import DevelopmentData, load_dataset
from cmir.promotion.comparison import scores_of
from cmir.promotion.report.ensemble_robustness import ensemble_robustness
from cmir.serving.language_files import load_language_ensemble, saved_ensemble
from cmir.serving.trained_ensemble import ensemble_of
from tests.support.language_version import finished, sentences_of
from tests.support.made_data.learning_data import NAMED, learning_samples, write_learning
from tests.support.tiny_backbones import write_backbone

NAMES = NAMED["classes"].names


@pytest.fixture
def moods(tmp_path: Path) -> DevelopmentData:
    samples = learning_samples("classes")
    numbers = samples["label"].to_numpy().astype(int)
    words = np.array(["bad", "good", "film", "very", "not"])[numbers]
    table = samples.with_columns(raw_text=words)
    folder = write_learning(tmp_path / "moods", task="classes", samples=table)
    return load_dataset(folder).development()


@pytest.mark.parametrize("layers", [1, 0])
def test_a_sentence_is_answered_with_the_name_of_a_class(
    layers: int, moods: DevelopmentData, tmp_path: Path
) -> None:
    result = finished(
        moods,
        write_backbone(tmp_path / "bert"),
        objective="ood_val/accuracy",
        training__backbone_layers=layers,
        training__epochs=4,
    )
    ensemble = ensemble_of(result, moods)
    scores = scores_of(ensemble, moods, {"ood_val": moods.ood_val})["ood_val"]
    assert scores.shape == (2, len(moods.ood_val), len(NAMES))
    hits = (scores.argmax(-1) == moods.ood_val.labels).mean(axis=1)
    np.testing.assert_allclose(hits, result.by_seed["ood_val/accuracy"])
    loaded = load_language_ensemble(saved_ensemble(ensemble, tmp_path / "files"))
    found = loaded.predict(sentences_of(moods))
    assert set(found["prediction"]) <= set(NAMES)
    chances = np.sum([found[f"probability_{name}"] for name in NAMES], axis=0)
    np.testing.assert_allclose(chances, 1, rtol=1e-5)
    assert not found["text_cut"].any()
    table = ensemble_robustness(ensemble, moods, splits=["ood_val"], corruptions=["gaussian"])
    assert table.filter(metric="accuracy")["mean"].is_finite().all()
