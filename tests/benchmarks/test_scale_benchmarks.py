"""The benchmarks of long sweeps: windows and growth, and the parts of the driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks import driver, scale


def lasting(seconds: list[float]) -> dict[str, Any]:
    """A sweep whose trials take so many seconds, one after the other."""
    ends, now = [], 9.0
    for one in seconds:
        now += one
        ends.append(now)
    sizes = {"peak_memory": 9e8, "journal": 2e6, "database": 3e6, "cpu_seconds": 5.0}
    return {"ends": ends, "memory": [7e8] * len(ends), "seconds": now + 4.0, **sizes}


def test_windows_are_the_seconds_of_a_trial_whatever_the_start_took() -> None:
    rows = scale.windows(lasting([0.02] * 200 + [0.04] * 800 + [0.05] * 200))
    assert [row["trials"] for row in rows] == ["1 to 200", "200 to 1000", "1000 to 1200"]
    assert [row["s per trial"] for row in rows] == pytest.approx([0.02, 0.04, 0.05])
    assert [row["aim"] for row in rows] == ["", "0.15", "0.15"]


def test_growth_is_from_the_first_window_beyond_a_thousand_to_the_slowest() -> None:
    seconds = [0.02] * 200 + [0.04] * 800 + [0.04] * 1000 + [0.06] * 2000 + [0.05] * 1000
    record = lasting(seconds)
    rows = scale.windows(record)
    assert scale.growth(rows) == pytest.approx(0.5)
    assert scale.growth(rows[:2]) == 0.0
    assert scale.whole(record, rows)["s after the last"] == pytest.approx(4.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_long_sweep_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert scale.main(["--trials", "20", "--epochs", "2", "--out", str(out)]) == 0
    found = pl.read_parquet(out)
    assert found["finished"].to_list() == [20]
    assert len(found["ends"][0]) == len(found["memory"][0]) == 20


@pytest.mark.slow
def test_the_parts_of_the_driver_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "restored afterwards")
    out = tmp_path / "out.parquet"
    assert driver.main(["--trials", "40", "--tracked", "10", "--out", str(out)]) == 0
    parts = set(pl.read_parquet(out)["part"])
    assert {"ask", "tell", "leaderboard", "write 10 trials to MLflow", "look for them"} <= parts
