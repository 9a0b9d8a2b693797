"""The time of a scheme is measured against the ERM baseline."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from benchmarks import scheme_times
from tests.support.small_sweep import write_data


def test_an_epoch_is_timed_against_erm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {k: scheme_times.SETTINGS[k] for k in ("reconstruction", "penalty irm, 4 groups")}
    monkeypatch.setattr(scheme_times, "SETTINGS", chosen)
    data, out = write_data(tmp_path / "data"), tmp_path / "times.parquet"
    scheme_times.main(["--data", str(data), "--pairs", "2", "--seeds", "1", "--out", str(out)])
    rows = pl.read_parquet(out)
    assert rows["setting"].to_list() == list(chosen)
    assert (rows["least"] <= rows["median"]).all()
    assert (rows["plain s"] > 0).all()
