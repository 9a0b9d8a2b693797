"""Probes with ground truth, on encoders whose parts are known by construction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cmir.data import DevelopmentData, load_dataset
from cmir.data.synthetic.generation import generate
from cmir.data.synthetic.interventions import KnownData, intervened, observed
from cmir.evaluation.probes.ground_truth import GroundTruth, ground_truth
from cmir.evaluation.probes.linear_probes import explained
from cmir.evaluation.probes.representations import Parts

Part = Callable[[np.ndarray, np.ndarray], np.ndarray]
SEEDS = 2
PARTS: Mapping[str, Part] = {
    "causal": lambda z, s: z,
    "spurious": lambda z, s: s,
    "everything": lambda z, s: np.concatenate([z, s], axis=1),
    "nothing": lambda z, s: 0 * z,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    sizes = {"train": 1200, "id_val": 400, "ood_val": 400}
    folder = tmp_path_factory.mktemp("truth") / "data"
    made = generate(folder, modalities={"text": 6, "vision": 6}, samples=sizes)
    return load_dataset(made).development()


@dataclass(frozen=True)
class HandMade:
    """Encodes the latents of the data it is given; predictions are a sum of Z_inv's features."""

    known: Mapping[int, KnownData]
    invariant: str
    spurious: str

    def parts(self, data: DevelopmentData, rows: np.ndarray) -> Parts:
        z, s = self._latents(data, rows)
        invariant, spurious = (PARTS[name](z, s) for name in (self.invariant, self.spurious))
        return Parts(np.stack([invariant] * SEEDS), np.stack([spurious] * SEEDS))

    def predictions(self, data: DevelopmentData, rows: np.ndarray) -> np.ndarray:
        total: np.ndarray = self.parts(data, rows).invariant.sum(axis=2)
        return total

    def _latents(self, data: DevelopmentData, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Each data set has an array of its own, by which its latents are found again.
        known = self.known[int(float(np.abs(data.modalities["vision"].array).sum()) * 1000)]
        place = {row: (n, i) for n, s in data.splits.items() for i, row in enumerate(s.rows)}
        found = [place[row] for row in rows]
        z = np.stack([known.truth[name].causal[i] for name, i in found])
        return z, np.stack([known.truth[name].spurious[i] for name, i in found])


def measured(data: DevelopmentData, invariant: str, spurious: str) -> GroundTruth:
    every = [observed(data), intervened(data, "spurious"), intervened(data, "causal")]
    known = {
        int(float(np.abs(one.data.modalities["vision"].array).sum()) * 1000): one for one in every
    }
    fit_on = np.arange(len(data.train))
    return ground_truth(HandMade(known, invariant, spurious), data, fit_on)


def test_an_ideal_encoder_scores_the_ideal_matrix(data: DevelopmentData) -> None:
    found = measured(data, "causal", "spurious")
    for part, target, ideal in (
        ("invariant", "causal", 1),
        ("invariant", "cause", 1),
        ("invariant", "spurious", 0),
        ("invariant", "cue", 0),
        ("invariant", "environment", 0),
        ("spurious", "causal", 0),
        ("spurious", "cause", 0),
        ("spurious", "spurious", 1),
        ("spurious", "cue", 1),
        ("both", "causal", 1),
        ("both", "spurious", 1),
    ):
        assert found.matrix[part][target] == pytest.approx([ideal] * SEEDS, abs=0.03), (
            part,
            target,
        )
    assert not found.swapped.any()
    assert found.moved["spurious"].tolist() == [0.0] * SEEDS
    # A sum of nothing but exchanged latents is as if drawn anew: sqrt(2) standard deviations.
    assert found.moved["causal"] == pytest.approx([np.sqrt(2)] * SEEDS, abs=0.15)


def test_in_observed_data_the_causal_part_would_seem_to_leak(data: DevelopmentData) -> None:
    seen, cut = observed(data), intervened(data, "spurious")

    def leak(known: KnownData) -> float:
        train, held = known.truth["train"], known.truth["id_val"]
        return explained(train.causal, {"cue": train.cue}, held.causal, {"cue": held.cue})["cue"]

    assert leak(seen) > 0.2
    assert abs(leak(cut)) < 0.03


def test_swapped_roles_raise_the_flag(data: DevelopmentData) -> None:
    found = measured(data, "spurious", "causal")
    assert found.swapped.tolist() == [True] * SEEDS
    assert (found.moved["spurious"] > 1).all()
    assert found.moved["causal"].tolist() == [0.0] * SEEDS


def test_identity_leaks_and_is_not_swapped(data: DevelopmentData) -> None:
    found = measured(data, "everything", "everything")
    for part in ("invariant", "spurious"):
        for target in ("causal", "spurious"):
            assert found.matrix[part][target] == pytest.approx([1] * SEEDS, abs=0.03)
    assert not found.swapped.any()
    assert (found.moved["spurious"] > 0.5).all()


def test_a_dead_encoder_holds_nothing_and_moves_nothing(data: DevelopmentData) -> None:
    found = measured(data, "nothing", "nothing")
    assert np.abs(list(found.matrix["both"].values())).max() < 0.03
    assert max(values.max() for values in found.moved.values()) == 0


def test_inputs_hold_both_kinds_as_far_as_they_show_them(data: DevelopmentData) -> None:
    found = measured(data, "causal", "spurious").inputs
    assert 0.3 < found["causal"] < 1
    assert 0.1 < found["cue"] < 1


def test_one_environment_is_nothing_to_tell(tmp_path: Path) -> None:
    sizes = {"train": 60, "id_val": 40, "ood_val": 40}
    shapes = {"text": 4, "vision": 4}
    made = generate(tmp_path / "d", modalities=shapes, samples=sizes, correlations=(1.0,))
    found = measured(load_dataset(made).development(), "causal", "spurious")
    assert np.isnan(found.matrix["both"]["environment"]).all()
