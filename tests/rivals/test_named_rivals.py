"""The table of rivals on classes and on several labels at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.ablation.arm_results import VALIDATION, validation_scores
from cmir.ablation.arm_scores import Yardstick
from cmir.data import DevelopmentData, load_dataset
from cmir.method.training.split_scores import worst_metric
from cmir.rivals.rival_scores import (
    ADAPTED,
    CHAMPION,
    LATE_FUSION,
    Trained,
    heldout_rows,
    validation_rows,
)
from cmir.rivals.rivals_table import About, rival_cells, rivals_table
from tests.support.made_data.learning_data import small_config, trained, write_learning


def trained_row(data: DevelopmentData, metric: str, name: str, **changes: Any) -> Trained:
    config = small_config((0, 1), training__epochs=2, **changes)
    result = trained(data, config.model_copy(update={"objective": f"ood_val/{metric}"}))
    is_unimodal = name.endswith("alone")
    scores = validation_scores(data, result, "cpu")
    return Trained(name, result, scores, is_unimodal, is_adapted=name == CHAMPION)


@pytest.mark.parametrize(("task", "metric"), [("classes", "uar"), ("multilabel", "log_loss")])
def test_every_row_has_scores_and_paired_differences_in_the_metric(
    tmp_path: Path, task: str, metric: str
) -> None:
    dataset = load_dataset(write_learning(tmp_path / "data", task=task))
    data = dataset.development()
    rows = [
        trained_row(data, metric, CHAMPION),
        trained_row(data, metric, "text alone", model__modalities=("text",)),
        trained_row(data, metric, "vision alone", model__modalities=("vision",)),
    ]
    heldout = dataset.heldout()
    both = (
        ({name: data.splits[name] for name in VALIDATION}, validation_rows(rows, data)),
        (heldout.splits, heldout_rows(rows, data, heldout)),
    )
    for splits, found in both:
        names = [CHAMPION, f"{CHAMPION}{ADAPTED}", "text alone", "vision alone", LATE_FUSION]
        assert list(found) == names
        yardstick = Yardstick(metric, splits, data.task)
        table = rivals_table({name: About("") for name in names}, found, yardstick)
        for split in splits:
            assert np.isfinite(table[f"{split}/{metric}"].to_numpy()).all()
            others = table[1:]
            low, value, high = (
                others[f"{split}/{metric}_{end}"] for end in ("low", "difference", "high")
            )
            assert (low <= value).all()
            assert (value <= high).all()
            wanted = others[f"{split}/{metric}"] - table[f"{split}/{metric}"][0]
            np.testing.assert_allclose(value, wanted, atol=1e-9)
        cells = rival_cells(table, metric, tuple(splits), worst_metric(data.task), "rivals")
        assert all(all(row) for row in cells.rows[1:])
