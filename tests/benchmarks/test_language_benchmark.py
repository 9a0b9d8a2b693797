from __future__ import annotations

from pathlib import Path

import polars as pl

from benchmarks import language_model
from cmir.data import DevelopmentData


def test_every_ratio_is_measured_and_kept(
    spoken: DevelopmentData, backbones: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "times.parquet"
    given = ["--data", str(spoken.path), "--backbone", str(backbones["bert"]), "--pairs", "1"]
    language_model.main([*given, "--threads", "1", "--no-memory", "--out", str(out)])
    rows = pl.read_parquet(out)
    assert set(language_model.GOALS) < set(rows["ratio"])
    assert (rows["median"] > 0).all()
