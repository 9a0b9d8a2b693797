"""Annealing: words change their sentiment, sizes and label histograms do not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cmir.data.shifts.word_bias import anneal, label_bins, label_matched, word_bias
from cmir.errors import InputError
from tests.support.made_data.biased_texts import biased_samples

LIMITS = (-3.0, 3.0)
SAMPLES = biased_samples()


def shifted(samples: pl.DataFrame = SAMPLES, **changes: object) -> pl.DataFrame:
    arguments = {"limits": LIMITS, "seed": 0, "share": 0.15} | changes
    return word_bias(samples, **arguments)[0]  # type: ignore[arg-type]


def shares_by_bin(samples: pl.DataFrame, split: str) -> np.ndarray:
    bins = label_bins(samples["label"].to_numpy(), LIMITS)
    inside = (samples["split"] == split).to_numpy()
    return np.bincount(bins, inside) / np.bincount(bins)


def test_the_contrast_grows_far_beyond_that_of_random_splits() -> None:
    _, record = word_bias(SAMPLES, limits=LIMITS, seed=0, share=0.15)
    assert max(record["trace"]) > 5 * record["trace"][0]
    assert record["proposals"] > 20 * SAMPLES.height


def test_every_label_bin_has_its_share_in_every_split_and_no_sample_is_lost() -> None:
    rarest = min(np.bincount(label_bins(SAMPLES["label"].to_numpy(), LIMITS)))
    found = shifted()
    for split in ("id_val", "ood_val", "ood_test"):
        np.testing.assert_allclose(shares_by_bin(found, split), 0.15, atol=1.5 / rarest)
    assert found.drop("split").equals(SAMPLES.drop("split"))


def test_a_seed_decides_everything() -> None:
    first = shifted(seed=3)
    assert first.equals(shifted(seed=3))
    assert not first.equals(shifted(seed=4))


def test_the_split_that_is_returned_has_the_best_contrast_traced() -> None:
    labels, texts = SAMPLES["label"].to_numpy(), SAMPLES["raw_text"].to_list()
    annealed = anneal(texts, labels, label_bins(labels, LIMITS), 0.3, seed=0)
    again = anneal(texts, labels, label_bins(labels, LIMITS), 0.3, seed=0, target=0.5)
    assert again.trace == annealed.trace[: len(again.trace)]
    assert again.trace[-2] < 0.5 <= again.trace[-1]
    assert again.is_second.sum() == annealed.is_second.sum()


def test_classes_are_bins_of_their_own() -> None:
    moved = shifted(biased_samples(task="binary"), limits=None)
    means = moved.group_by("split").agg(pl.col("label").mean())["label"].to_numpy()
    assert np.ptp(means) < 0.02


def test_a_random_split_takes_the_same_share_of_every_bin() -> None:
    bins = np.repeat([0, 1, 2], [10, 20, 40])
    chosen = label_matched(bins, 0.3, np.random.default_rng(0))
    assert np.bincount(bins, chosen).tolist() == [3, 6, 12]


@pytest.mark.parametrize(
    ("samples", "changes", "message"),
    [
        (SAMPLES.drop("raw_text"), {}, "must have texts under raw_text, but has only id, split"),
        (SAMPLES, {"share": 0.3}, r"above 0 and below 0\.3 with word_bias, .*but got 0\.3"),
        (SAMPLES, {"target": 1e6}, r"must be within reach, but annealing ends at \d"),
        (SAMPLES.head(3), {}, "some word must occur in 5 texts"),
        (SAMPLES.head(8), {"share": 0.01}, "some word must occur|samples on both sides"),
    ],
)
def test_a_bias_that_cannot_be_made_is_refused(
    samples: pl.DataFrame, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        shifted(samples, **changes)
