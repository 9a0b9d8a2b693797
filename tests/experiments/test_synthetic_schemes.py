"""The experiments on data of known truth measure what they say, at sizes that a test can afford."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cmir.data import load_dataset
from experiments import split_forms, synthetic_schemes
from experiments.synthetic_arms import ARMS, BASE, configured


@pytest.mark.parametrize("name", ARMS)
def test_the_draws_of_a_scheme_share_one_structure(name: str) -> None:
    drawn = ARMS[name].draw(4, seed=3)
    assert drawn == ARMS[name].draw(4, seed=3)
    assert drawn != ARMS[name].draw(4, seed=4)
    assert len({str(values) for values in drawn}) == 4
    configs = [configured(values, (0, 1)) for values in drawn]
    assert all(config.structure == configs[0].structure for config in configs)


def test_a_scheme_is_chosen_on_validation_data_and_scored_on_test_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"train": 120, "id_val": 40, "ood_val": 40, "id_test": 40, "ood_test": 40}
    monkeypatch.setattr(synthetic_schemes, "SAMPLES", sizes)
    few = {**BASE, "training.epochs": 2, "training.patience": 2}
    monkeypatch.setattr("experiments.synthetic_arms.BASE", few)
    correlations = {"linked": synthetic_schemes.CORRELATIONS, "cut": (0.0, 0.0, 0.0)}
    for name, values in correlations.items():
        synthetic_schemes.write_data(tmp_path / name, 0, "vision", values)
    rows = []
    for name in ("ERM", "swap", "ceiling: link cut in training"):
        rows += synthetic_schemes.run(synthetic_schemes.Task(name, tmp_path, 2, 0))
    assert [row["rule"] for row in rows] == ["id_val", "ood_val"] * 3
    assert all(0 <= row["ood_test"] <= 1 for row in rows)
    table = synthetic_schemes.summary(rows)
    assert [line["scheme"] for line in table[:3]] == [
        "ERM",
        "swap",
        "ceiling: link cut in training",
    ]
    assert table[0]["out - plain"] == "+0.000"


def test_the_link_is_cut_and_nothing_else(tmp_path: Path) -> None:
    for name, values in (("linked", (1.0, 0.6, 0.2)), ("cut", (0.0, 0.0, 0.0))):
        synthetic_schemes.write_data(tmp_path / name, 5, "vision", values)
    linked, cut = (load_dataset(tmp_path / name).development() for name in ("linked", "cut"))
    assert (linked.train.labels == cut.train.labels).all()
    same, other = (
        (linked.modalities[m].array[:] == cut.modalities[m].array[:]).all()
        for m in ("text", "vision")
    )
    assert same
    assert not other


def test_what_the_parts_hold_is_measured_for_each_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"train": 200, "id_val": 60, "ood_val": 60}
    monkeypatch.setattr(synthetic_schemes, "SAMPLES", sizes)
    monkeypatch.setattr(
        split_forms, "GRID", {"samples": ((0.0, 0.0), (1.0, 1.0)), "hsic": ((10.0, 1.0),)}
    )
    out = tmp_path / "split.parquet"
    split_forms.main(["--seeds", "1", "--out", str(out)])
    rows = pl.read_parquet(out)
    assert rows["form"].to_list() == ["samples", "samples", "hsic"]
    assert (rows["moved by spurious"] < 1.6).all()
    # As printed, with weight zero, nothing keeps the causal direction out of Z_spu.
    assert rows["cause spu"][0] > 0.3
