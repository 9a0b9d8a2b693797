"""Classes and several labels in the structural model: shares, causes, cues, interventions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cmir.data import load_dataset
from cmir.data.synthetic.generation import generate
from cmir.data.synthetic.interventions import intervened, observed
from cmir.data.synthetic.structural_model import ModalitySpec
from cmir.errors import InputError

NAMES, SHARES = ("anger", "joy", "neutral"), (0.2, 0.3, 0.5)
SAMPLES = {"train": 3000, "id_val": 600, "ood_val": 600, "ood_test": 3000}
OBSERVED = {"text": ModalitySpec(16), "vision": ModalitySpec(16, spurious=1.0)}


def made(folder: Path, task: str = "classes", **changes: Any) -> Path:
    arguments: dict[str, Any] = {
        "modalities": OBSERVED,
        "samples": SAMPLES,
        "task": task,
        "names": NAMES,
        "shares": SHARES,
    }
    return generate(folder, **(arguments | changes))


@pytest.mark.parametrize("task", ["classes", "multilabel"])
def test_names_have_their_shares_in_every_split(tmp_path: Path, task: str) -> None:
    dataset = load_dataset(made(tmp_path / "data", task))
    for labels in (dataset.development().train.labels, dataset.heldout().splits["ood_test"].labels):
        each = np.eye(3)[labels.astype(int)] if labels.ndim == 1 else labels
        np.testing.assert_allclose(each.mean(0), SHARES, atol=0.03)


def test_the_cue_tells_the_class_until_its_link_turns(tmp_path: Path) -> None:
    folder = made(tmp_path / "data")
    with np.load(folder / "ground_truth.npz") as arrays:
        truth = dict(arrays)
    dataset = load_dataset(folder)
    train, test = dataset.development().train, dataset.heldout().splits["ood_test"]

    def accuracy(name: str) -> tuple[float, float]:
        model = LogisticRegression(max_iter=500).fit(truth[name][train.rows], train.labels)
        inside, outside = (
            float(model.score(truth[name][one.rows], one.labels)) for one in (train, test)
        )
        return inside, outside

    inside, outside = accuracy("spurious")
    assert inside > 0.75
    assert outside < 0.45
    inside, outside = accuracy("causal")
    assert inside == pytest.approx(outside, abs=0.04)
    assert outside > 0.6


def test_the_same_seed_writes_the_same_bytes_and_its_design_can_be_read(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a" / "x", seed=3), made(tmp_path / "b" / "x", seed=3)
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()
    arguments = json.loads((first / "ground_truth.json").read_text())["arguments"]
    assert arguments["names"] == list(NAMES)
    truth = observed(load_dataset(first).development()).truth["train"]
    assert truth.cause.shape == truth.cue.shape == (3000, 3)


@pytest.mark.parametrize("task", ["classes", "multilabel"])
def test_do_s_leaves_labels_and_do_z_moves_them(tmp_path: Path, task: str) -> None:
    data = load_dataset(made(tmp_path / "data", task)).development()
    kept, moved = (intervened(data, kind).data for kind in ("spurious", "causal"))
    np.testing.assert_array_equal(kept.train.labels, data.train.labels)
    assert moved.train.labels.shape == data.train.labels.shape
    assert (moved.train.labels != data.train.labels).mean() > 0.2


def test_a_scale_says_nothing_of_names(tmp_path: Path) -> None:
    folder = generate(tmp_path / "x", modalities={"text": 3}, samples=SAMPLES)
    arguments = json.loads((folder / "ground_truth.json").read_text())["arguments"]
    assert not {"names", "shares"} & set(arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shares": (0.5, 0.5)}, "one for each of anger, joy, neutral, but there are 2"),
        ({"shares": (0.5, 0.5, 0.5)}, "of classes must sum to 1, but sum to 1.5"),
        ({"shares": (0.5, 0.5, 0.0)}, "must lie between 0 and 1"),
        ({"names": ("a",)}, "2 to 100 classes or labels, but there are 1"),
        ({"task": "binary"}, "a binary task has none"),
    ],
)
def test_shares_and_names_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        made(tmp_path / "data", **changes)
