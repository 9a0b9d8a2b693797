"""Features that were made with the labels of training groups are found, others are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cmir.data import DevelopmentData, load_dataset
from cmir.data.cards.label_gap import label_gaps, warn_of_label_gaps
from cmir.data.dataset import SplitData
from cmir.data.writing import write_dataset

GROUPS = {"train": 20, "id_val": 20, "ood_val": 8}
SIZE, EACH = 30, 20


def written(folder: Path, seed: int, new_groups: int = GROUPS["ood_val"]) -> DevelopmentData:
    """`honest` tells half of the label everywhere, `trained` in training's groups alone."""
    random = np.random.default_rng(seed)
    splits, speakers = [], []
    for split, count in {**GROUPS, "ood_val": new_groups}.items():
        own = "new" if split == "ood_val" else "known"
        splits += [split] * count * EACH
        speakers += [f"{own}{group}" for group in range(count) for _ in range(EACH)]
    labels = random.normal(size=len(splits))
    is_known = np.array(splits) != "ood_val"
    direction = random.normal(size=(2, SIZE))
    noise = random.normal(size=(2, len(splits), SIZE)) * 3
    told = np.stack([labels, np.where(is_known, labels, 0.0)])
    features = told[..., None] * direction[:, None] + noise
    samples = pl.DataFrame(
        {
            "id": [f"{number}" for number in range(len(splits))],
            "split": splits,
            "label": labels.clip(-3, 3).astype(np.float32),
            "speaker": speakers,
        }
    )
    arrays = dict(zip(("honest", "trained"), features.astype(np.float32), strict=True))
    path = write_dataset(
        folder,
        samples=samples,
        features=arrays,
        task="regression",
        label_range=(-3.0, 3.0),
        name="gap",
        source={"file": "none"},
        shift={"scheme": "given"},
    )
    return load_dataset(path).development()


@pytest.mark.parametrize("seed", range(3))
def test_what_was_trained_on_the_labels_is_named_and_nothing_else(
    tmp_path: Path, seed: int
) -> None:
    data = written(tmp_path / "d", seed)
    (warning,) = warn_of_label_gaps(data, {"scheme": "held_out", "column": "speaker"})
    assert warning.startswith("trained: a linear model explains ")
    assert "0% in the new ones of ood_val" in warning
    gaps = label_gaps(data)
    assert gaps["trained"].within > 0.3 > gaps["trained"].new
    assert abs(gaps["honest"].within - gaps["honest"].new) < 0.15


def test_training_groups_held_out_as_new_ones_do_not_show_the_fault(tmp_path: Path) -> None:
    data = written(tmp_path / "d", 0)
    is_out = data.train.samples["speaker"].is_in([f"known{one}" for one in range(6)]).to_numpy()

    def part(chosen: np.ndarray, name: str) -> SplitData:
        one = data.train
        return SplitData(name, one.rows[chosen], one.labels[chosen], one.samples.filter(chosen))

    made = replace(data, train=part(~is_out, "train"), ood_val=part(is_out, "ood_val"))
    assert warn_of_label_gaps(made, {"scheme": "held_out"}) == []


def test_nothing_is_said_of_few_groups_or_of_a_shift_by_design(tmp_path: Path) -> None:
    assert label_gaps(written(tmp_path / "few", 0, new_groups=4)) == {}
    data = written(tmp_path / "d", 0)
    assert warn_of_label_gaps(data, {"scheme": "word_bias"}) == []
