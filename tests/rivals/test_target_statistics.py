from __future__ import annotations

from dataclasses import replace

import numpy as np

from cmir.data import DevelopmentData
from cmir.rivals.rival_scores import adapted_scores, validation_rows
from cmir.rivals.target_statistics import aligned
from tests.support.made_data.learning_data import small_config, trained


def test_a_split_has_mean_zero_and_deviation_one_in_its_own_units(
    learning: DevelopmentData,
) -> None:
    split = learning.ood_val
    vision = aligned(learning, split).modalities["vision"]
    standard = (np.asarray(vision.array)[split.rows] - vision.mean) / vision.std
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=1e-4)


def test_a_microphone_with_another_gain_changes_nothing_after_it(
    learning: DevelopmentData,
) -> None:
    result = trained(learning, small_config((0, 1), training__epochs=1))
    splits = {"ood_val": learning.ood_val}
    before = adapted_scores(result, learning, learning, splits)["ood_val"]
    louder = {
        name: replace(
            one,
            array=np.asarray(one.array) * 3 + 1,
            pooled=None if one.pooled is None else np.asarray(one.pooled) * 3 + 1,
        )
        for name, one in learning.modalities.items()
    }
    after = adapted_scores(result, learning, replace(learning, modalities=louder), splits)
    np.testing.assert_allclose(after["ood_val"], before, rtol=1e-3, atol=1e-4)


def test_nothing_is_derived_where_no_row_asks_for_it(learning: DevelopmentData) -> None:
    assert validation_rows([], learning) == {}
