"""The strength of a shift: nothing where there is none, much where a cue is turned round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import Ridge

from cmir.data import DevelopmentData, load_dataset, write_dataset
from cmir.data.shifts.strength import PENALTY, shift_strength
from cmir.data.shifts.word_bias import word_bias
from tests.support.made_data.biased_texts import biased_samples

LIMITS = (-3.0, 3.0)


def developed(folder: Path, samples: pl.DataFrame, features: dict[str, object]) -> DevelopmentData:
    write_dataset(
        folder,
        samples=samples,
        features=features,
        task="regression",
        label_range=LIMITS,
        name="strength",
        source={},
        shift={},
    )
    return load_dataset(folder).development()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    """Words that are turned round, a modality that is turned round, and one that holds."""
    samples, _ = word_bias(biased_samples(), limits=LIMITS, seed=0, share=0.15)
    rng = np.random.default_rng(0)
    labels = samples["label"].to_numpy()[:, None]
    turned = np.where(samples["split"].str.starts_with("ood").to_numpy(), -1.0, 1.0)[:, None]
    features = {
        "holds": (labels + rng.normal(size=(len(labels), 3))).astype(np.float32),
        "turns": (turned * labels + rng.normal(size=(len(labels), 3))).astype(np.float32),
    }
    return developed(tmp_path_factory.mktemp("strength") / "data", samples, dict(features))


def test_what_turns_round_is_told_from_what_holds(data: DevelopmentData) -> None:
    found = shift_strength(data)
    assert found["turns"].outside < -0.7 < 0.7 < found["turns"].inside
    assert found["holds"].outside == pytest.approx(np.mean(found["holds"].random), abs=0.05)


def test_a_bag_of_words_drops_where_label_matched_random_splits_do_not(
    data: DevelopmentData,
) -> None:
    words = shift_strength(data)["words"]
    assert words.outside < 0.0
    assert min(words.random) > 0.3
    assert words.inside > 0.3


def test_a_modality_is_scored_by_a_ridge_of_standardised_features(data: DevelopmentData) -> None:
    array = np.asarray(data.modalities["holds"].array, np.float64)
    train = array[data.train.rows]
    scaled = (array - train.mean(axis=0)) / train.std(axis=0)
    ridge = Ridge(PENALTY).fit(scaled[data.train.rows], data.train.labels)
    expected = np.corrcoef(ridge.predict(scaled[data.ood_val.rows]), data.ood_val.labels)[0, 1]
    assert shift_strength(data)["holds"].outside == pytest.approx(expected, abs=1e-4)


def test_nothing_that_does_not_vary_has_a_strength(tmp_path: Path) -> None:
    samples = biased_samples(30).with_columns(
        split=pl.Series(["train", "id_val", "ood_val"] * 10), raw_text=pl.lit("")
    )
    data = developed(tmp_path / "data", samples, {"audio": np.ones((30, 2), np.float32)})
    found = shift_strength(data)
    assert list(found) == ["audio"]
    assert (found["audio"].inside, found["audio"].outside) == (0.0, 0.0)
