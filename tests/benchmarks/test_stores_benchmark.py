"""The stores benchmark fills real stores with real trials, and tells their bytes."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from benchmarks import stores
from benchmarks.stores import endings, fill_study, space_of, stored_bytes
from benchmarks.timed import BenchmarkError
from cmir.method.training.split_scores import known_metrics
from tests.support.small_postgres import postgres


def test_endings_are_those_of_real_trials_and_differ() -> None:
    first, second = endings(2, 3)
    assert first.metrics != second.metrics
    wanted = {f"ood_val/{metric}" for metric in known_metrics("regression")}
    assert wanted <= first.by_seed.keys() & first.curve.keys()
    assert all(len(curve) == 3 for curve in first.curve.values())


def test_a_journal_is_filled_with_one_trial_for_each_ending(tmp_path: Path) -> None:
    space, journal = space_of(tmp_path, 3, 2), tmp_path / "journal"
    row, records = fill_study("journal", str(journal), space, endings(3, 2))
    assert [record.number for record in records] == [0, 1, 2]
    assert len({str(record.params) for record in records}) == 3
    assert row["trials"] == 3
    assert 0 < 3e3 * row["kB per trial"] < journal.stat().st_size
    assert row["trials/s"] == pytest.approx(1e3 / row["ms per trial"])


def test_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    place = tmp_path / "store"
    assert stored_bytes(str(place)) == 0
    place.write_bytes(bytes(100))
    assert stored_bytes(str(place)) == stored_bytes(f"sqlite:///{place}") == 100
    with pytest.raises(BenchmarkError, match=r"mysql://me:\*\*\*@host/x: must be PostgreSQL"):
        stored_bytes("mysql://me:secret@host/x")


@pytest.mark.slow
def test_all_stores_are_measured(tmp_path: Path) -> None:
    out = tmp_path / "stores.parquet"
    sizes = ["--trials", "2", "--epochs", "2", "--out", str(out)]
    with postgres("studies", "runs") as addresses:
        databases = ["--storage", addresses["studies"], "--backend", addresses["runs"]]
        assert stores.main([*sizes, *databases]) == 0
    rows = pl.read_parquet(out)
    assert rows["store"].to_list() == [
        "study: journal",
        "study: postgresql",
        "MLflow: sqlite",
        "MLflow: server, sqlite",
        "MLflow: server, postgresql",
    ]
    assert (rows["trials/s"] > 0).all()
