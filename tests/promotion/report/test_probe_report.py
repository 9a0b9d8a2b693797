"""What a promoted model's pages say of its probes."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmir.data import load_dataset
from cmir.evaluation.probes.ground_truth import GroundTruth
from cmir.evaluation.probes.probing import ROLES, Probes, probe
from cmir.promotion.report.probe_plot import TRUTH, probe_picture
from cmir.promotion.report.probe_report import probe_metrics, probe_text, probe_values
from tests.support.made_data.learning_data import small_config, trained
from tests.support.small_sweep import write_data


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Probes:
    data = load_dataset(write_data(tmp_path_factory.mktemp("probes") / "data")).development()
    return probe(trained(data, small_config((0, 1), training__epochs=1)), data)


def swapped(probes: Probes) -> Probes:
    truth = probes.truth
    assert truth is not None
    high, low = np.array([0.9, 0.9]), np.array([0.1, 0.1])
    ends = {"causal": low, "spurious": high}, {"causal": high, "spurious": low}
    rest = truth.matrix["both"]
    matrix = {"invariant": {**rest, **ends[0]}, "spurious": {**rest, **ends[1]}, "both": rest}
    return replace(probes, truth=GroundTruth(matrix, truth.inputs, truth.moved))


def test_metrics_are_few_and_means_over_seeds(probes: Probes) -> None:
    found = probe_metrics(probes)
    assert probes.truth is not None
    assert all(key.startswith("probe/") for key in found)
    causal = probes.truth.matrix["spurious"]["causal"]
    assert found["probe/causal_from_spurious"] == pytest.approx(causal.mean())
    assert found["probe/moved_by_spurious"] == probes.truth.moved["spurious"].mean()
    assert found["probe/roles_swapped"] == 0
    own = probe_metrics(replace(probes, truth=None))
    assert set(found) - set(own) == {
        *(f"probe/{kind}_from_{part}" for kind in ("causal", "spurious") for part in ROLES),
        *("probe/moved_by_causal", "probe/moved_by_spurious", "probe/roles_swapped"),
    }
    label = probes.readouts["label/ood_val"].linear["spurious"]
    assert own["probe/label_new_from_spurious"] == label.mean()
    text = probes.swaps["ood_val"]["text"].prediction
    assert own["probe/moved_by_text"] == text.mean()
    assert probe_metrics(swapped(probes))["probe/roles_swapped"] == 1


def test_the_file_holds_every_seed_and_is_strict_json(probes: Probes) -> None:
    label = probes.readouts["label/id_val"]
    unknown = replace(label, linear={part: np.full(2, np.nan) for part in ("invariant",)})
    values = probe_values(replace(probes, readouts={"label/id_val": unknown}))
    read = json.loads(json.dumps(values, allow_nan=False))
    shown = read["readouts"]["label/id_val"]
    assert shown["linear"]["invariant"]["by_seed"] == [None, None]
    assert shown["asked"] == "the label, known groups"
    assert set(shown["network"]) == {"invariant", "spurious", "both"}
    assert set(read["swapped_modality_moves"]["id_val"]["text"]) == {
        *("invariant", "spurious", "prediction")
    }
    matrix = read["ground_truth"]["r2"]
    assert set(matrix) == {"invariant", "spurious", "both"}
    assert set(matrix["both"]) == {"causal", "cause", "spurious", "cue", "environment"}
    assert len(matrix["both"]["causal"]["by_seed"]) == 2
    assert probe_values(replace(probes, truth=None))["ground_truth"] is None


def test_the_table_is_short_and_swapped_roles_are_told(probes: Probes) -> None:
    text = probe_text(probes)
    assert len(text) < 2400
    assert "| the label, new groups" in text
    assert "| text, new groups" in text
    assert "changed roles" not in text
    assert "changed roles in 2 of 2 seeds" in probe_text(swapped(probes))
    assert "what causes the label" not in probe_text(replace(probes, truth=None))


def test_the_picture_asks_each_question_in_words(probes: Probes) -> None:
    figure = probe_picture(probes)
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    first, second, third = figure.axes
    assert [text.get_text() for text in first.get_yticklabels()] == [
        ask for ask, _ in TRUTH.values()
    ]
    assert probes.truth is not None
    lengths = [bar.get_width() for bar in second.patches]  # type: ignore[attr-defined]
    assert lengths == pytest.approx([values.mean() for values in probes.truth.moved.values()])
    assert "the label, known groups" in third.get_yticklabels()[0].get_text()


def test_without_ground_truth_one_panel_is_left(probes: Probes, tmp_path: Path) -> None:
    nothing = {part: np.full(2, np.nan) for part in ("invariant", "spurious")}
    readouts = {name: replace(one, linear=nothing) for name, one in probes.readouts.items()}
    figure = probe_picture(replace(probes, truth=None, readouts=readouts))
    figure.savefig(tmp_path / "probes.png", dpi=30)
    (axes,) = figure.axes
    assert "cannot be asked" in [text.get_text() for text in axes.texts]
