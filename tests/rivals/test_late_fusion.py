from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from cmir.data import SplitData
from cmir.data.task import SENTIMENT, Task
from cmir.rivals.late_fusion import fitted, fusions, stacked


@dataclass(frozen=True, eq=False)
class Split:
    name: str
    labels: np.ndarray
    samples: pl.DataFrame

    def __len__(self) -> int:
        return len(self.labels)


def split(name: str, labels: np.ndarray) -> SplitData:
    speakers = [f"{name}{index // 10}" for index in range(len(labels))]
    return cast(SplitData, Split(name, labels, pl.DataFrame({"speaker": speakers})))


@pytest.fixture
def case() -> tuple[list[dict[str, np.ndarray]], dict[str, SplitData]]:
    """Two models that each see half of what makes the label."""
    rng = np.random.default_rng(0)
    models: list[dict[str, np.ndarray]] = [{}, {}]
    splits = {}
    for name, count in (("id_val", 80), ("ood_val", 100)):
        halves = rng.normal(size=(2, count))
        splits[name] = split(name, (halves.sum(axis=0) * 0.8).clip(-3, 3))
        for model, half in zip(models, halves, strict=True):
            noise = 0.1 * rng.normal(size=(3, count))
            model[name] = half + noise
            model[f"noise_{name}"] = np.stack([half + 3 * noise] * 2)
    return models, splits


def test_it_is_better_than_each_model_and_keeps_the_shapes(case: Any) -> None:
    models, splits = case
    found = stacked(models, splits, SENTIMENT)
    assert {key: value.shape for key, value in found.items()} == {
        key: value.shape for key, value in models[0].items()
    }

    def error(scores: np.ndarray) -> float:
        return float(np.abs(scores - splits["ood_val"].labels).mean())

    assert error(found["ood_val"]) < 0.3 * min(error(model["ood_val"]) for model in models)
    assert error(found["noise_ood_val"][0]) < min(error(model["ood_val"]) for model in models)


def test_no_sample_is_judged_by_a_fusion_that_has_seen_its_group(case: Any) -> None:
    models, splits = case
    before = stacked(models, splits, SENTIMENT)["ood_val"]
    labels = splits["ood_val"].labels.copy()
    labels[:10] = -labels[:10]  # The first speaker's.
    after = stacked(models, {**splits, "ood_val": split("ood_val", labels)}, SENTIMENT)["ood_val"]
    np.testing.assert_array_equal(before[:, :10], after[:, :10])
    assert np.abs(before[:, 10:] - after[:, 10:]).max() > 0.01


def test_the_weights_are_those_that_made_the_label(case: Any) -> None:
    models, splits = case
    for fusion in fusions(models, splits, SENTIMENT):
        np.testing.assert_allclose(fusion.weights, 0.8, atol=0.05)
        assert abs(fusion.offset) < 0.05


def test_two_classes_are_fused_in_logits() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(400, 2))
    labels = (scores.sum(axis=1) > 0).astype(float)
    fusion = fitted(scores, labels, Task("binary", None))
    assert ((fusion(scores) >= 0) == (labels > 0.5)).mean() > 0.97
