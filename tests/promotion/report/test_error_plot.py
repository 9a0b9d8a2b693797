"""Where a model errs: points, means by label, bars by group, and which class is taken for which."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from cmir.data import load_dataset
from cmir.promotion.report.error_plot import confusion_picture, error_picture
from tests.support.made_data.learning_data import write_learning


def test_a_model_that_is_off_by_one_is_shown_to_be(tmp_path: Path) -> None:
    splits = load_dataset(write_learning(tmp_path / "data")).development().splits
    served = {name: splits[name].labels.astype(float) + 1 for name in ("id_val", "ood_val")}
    figure = error_picture(served, splits)
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    _, by_label, by_group = figure.axes
    means = np.asarray(by_label.get_lines()[0].get_ydata(), float)
    np.testing.assert_allclose(means, 1.0)
    bars = [patch.get_width() for patch in by_group.patches]  # type: ignore[attr-defined]
    np.testing.assert_allclose(bars, 1.0)
    assert [label.get_text() for label in by_group.get_yticklabels()] == ["small groups (24)"]


def test_a_confusion_is_told_in_shares_and_counts() -> None:
    figure = confusion_picture([[3, 1], [0, 2]], ("calm", "angry"))
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["75%\n3", "25%\n1", "100%\n2"]
