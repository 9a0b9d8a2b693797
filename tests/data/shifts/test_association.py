"""How words go with the label: held against loops over samples and words."""

from __future__ import annotations

import numpy as np
import pytest

from cmir.data.shifts.association import SHRINKAGE, Sides, word_counter, word_table
from cmir.errors import InputError
from tests.support.made_data.biased_texts import biased_samples

SAMPLES = biased_samples(80)
TEXTS, LABELS = SAMPLES["raw_text"].to_list(), SAMPLES["label"].to_numpy()


def random_sides(seed: int = 0) -> Sides:
    return Sides(word_table(TEXTS, LABELS), np.random.default_rng(seed).random(80) < 0.4)


def contrast_by_loops(is_second: np.ndarray) -> float:
    words = sorted({word for text in TEXTS for word in text.split()})
    sentiment = LABELS.astype(np.float64) - LABELS.astype(np.float64).mean()
    total, occurrences = 0.0, 0
    for word in words:
        holders = [row for row, text in enumerate(TEXTS) if word in text.split()]
        if len(holders) < 5:
            continue
        association = []
        for side in (False, True):
            own = [sentiment[row] for row in holders if is_second[row] == side]
            association.append(sum(own) / (len(own) + SHRINKAGE))
        total += len(holders) * (association[0] - association[1]) ** 2
        occurrences += len(holders)
    return total / occurrences


@pytest.mark.parametrize("seed", range(3))
def test_the_contrast_is_that_of_a_loop_over_words(seed: int) -> None:
    sides = random_sides(seed)
    assert sides.contrast == pytest.approx(contrast_by_loops(sides.is_second), rel=1e-10)


def test_a_gain_is_what_the_exchange_alone_adds() -> None:
    sides = random_sides()
    leaving, joining = np.flatnonzero(sides.is_second)[:9], np.flatnonzero(~sides.is_second)[:9]
    gains = sides.gains(leaving, joining)
    for gain, out, into in zip(gains, leaving, joining, strict=True):
        other = sides.is_second.copy()
        other[out], other[into] = False, True
        assert gain == pytest.approx(contrast_by_loops(other) - sides.contrast, abs=1e-12)


def test_sums_stay_exact_over_many_exchanges() -> None:
    sides = random_sides()
    rng = np.random.default_rng(1)
    for _ in range(20):
        leaving = rng.permutation(np.flatnonzero(sides.is_second))[:5]
        sides.exchange(leaving, rng.permutation(np.flatnonzero(~sides.is_second))[:5])
    assert sides.contrast == pytest.approx(contrast_by_loops(sides.is_second), rel=1e-10)


def test_texts_without_spaces_are_counted_by_characters() -> None:
    chinese = word_counter(["今天很好", "今天不好"]).fit(["今天很好", "今天不好"])
    assert {"好", "今天", "不好"} <= set(chinese.vocabulary_)
    english = word_counter(["it isn't good"]).fit(["it isn't good"])
    assert set(english.vocabulary_) == {"it", "isn't", "good"}


@pytest.mark.parametrize("texts", [["one", "two"], ["", ""]])
def test_texts_without_common_words_are_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match="some word must occur in 5 texts, but none does"):
        word_table(texts, [0.0, 1.0])
