"""The check of reduced products: what it trains, and what it says."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from benchmarks import precision
from benchmarks.results import Row
from cmir.data.synthetic.generation import generate


def test_both_precisions_train_the_same_configurations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = generate(
        tmp_path / "small",
        modalities={"text": (6, 3), "audio": 4, "vision": 5},
        samples=dict.fromkeys(("train", "id_val", "ood_val"), 240),
    )
    out = tmp_path / "precision.parquet"
    sizes = ["--configurations", "4", "--seeds", "2", "--epochs", "2", "--device", "cpu"]
    assert precision.main(["--data", str(folder), *sizes, "--out", str(out)]) == 0
    rows = pl.read_parquet(out)
    assert rows.height == 4
    assert ((rows["full"] - rows["reduced"]).abs() < 0.5).all()
    assert "rank correlation" in capsys.readouterr().out


def test_a_diverged_configuration_is_told_and_left_out() -> None:
    full: list[Row] = [{"by_seed": (1.0, 3.0)}, {"by_seed": (4.0, 4.0)}, {"by_seed": (0.5, 0.5)}]
    reduced: list[Row] = [{"by_seed": (2.0, 2.2)}, {"by_seed": (1.0, 1.0)}, {"by_seed": ()}]
    rows, summary = precision.compare(full, reduced, 1.0)
    assert [row["configuration"] for row in rows] == [0, 1]
    assert (summary["best, full"], summary["best, reduced"]) == (0, 1)
    assert summary["diverged in one only"] == 1
    assert summary["rank correlation"] == pytest.approx(-1.0)
    assert summary["median difference"] == pytest.approx((0.1 + 3.0) / 2)


def test_missing_data_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert precision.main(["--data", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
