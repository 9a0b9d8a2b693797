"""A whole comparison with rivals: tuned, trained again, shown, continued, held-out data once."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import polars as pl
import pytest

from cmir.commands.rivals_command import main
from cmir.commands.sweep_command import main as sweep
from cmir.promotion.promotion_plan import PromotionRequest, plan_promotion
from cmir.runner.paths import Paths
from tests.support.small_promotion import open_store
from tests.support.small_sweep import write_data, write_space


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_ends_with_one_table_and_the_same_command_shows_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    open_store(tmp_path, monkeypatch)
    write_data(tmp_path / "data" / "small")
    space = str(write_space(tmp_path))
    assert sweep(["--space", space, "--trials", "2", "--epochs", "2"]) == 0
    words = ["--space", space, "--seeds", "2", "--trials", "1"]
    words += ["--only", "erm, text alone, vision alone"]
    capsys.readouterr()
    assert main(words) == 0
    first = capsys.readouterr()
    assert first.err == ""
    table = pl.read_csv(tmp_path / "mlruns" / "studies" / "small.rivals" / "rivals.csv")
    assert table["rival"].to_list() == [
        *("champion", "erm", "text alone", "vision alone"),
        *("champion, target statistics", "erm, target statistics", "late fusion"),
    ]
    assert set(table["outcome"]) == {"finished"}
    assert table["ood_val/mae"].is_finite().all()
    assert table["ood_val/mae_p_holm"].drop_nulls().len() == table.height - 1
    for name in ("rivals.md", "rivals.tex"):
        text = (tmp_path / "mlruns" / "studies" / "small.rivals" / name).read_text()
        assert "late fusion" in text
    # The next promotion is still that of the sweep that was asked for.
    assert plan_promotion(PromotionRequest(), Paths()).sweep == "small"

    runs = len(mlflow.search_runs(search_all_experiments=True))
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["rival"] for row in told["rows"]] == table["rival"].to_list()
    assert len(mlflow.search_runs(search_all_experiments=True)) == runs
    again = pl.read_csv(tmp_path / "mlruns" / "studies" / "small.rivals" / "rivals.csv")
    assert again.equals(table)

    capsys.readouterr()
    assert main([*words, "--test-set"]) == 2
    assert "--test-set needs a reason" in capsys.readouterr().err
    for times in ("never been read before", "was not read again"):
        assert main([*words, "--test-set", "--why", "a test"]) == 0
        assert times in capsys.readouterr().out
    ledger = (tmp_path / "mlruns" / "heldout_ledger.jsonl").read_text().splitlines()
    assert len([line for line in ledger if "rivals of small: a test" in line]) == 1
