"""The comparison of criteria keeps its truth apart from what they see, and continues."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from experiments.selection_agreement import (
    CRITERIA,
    TRUTH,
    agreement,
    groups_of,
    judged,
    main,
    of_development,
    structural,
)


def made_up(draws: int = 2) -> list[dict[str, object]]:
    """Twelve configurations a draw: `cv` ranks them as the truth does, `id_val` the other way."""
    random = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for draw in range(draws):
        for config, truth in enumerate(random.permutation(12) / 10):
            seen = {"id_val": -truth, "cv": 2 * truth, "disagreement": random.random()}
            seen |= {"made": random.random(), "ood_val": truth, TRUTH: truth}
            row = {"world": "structural", "draw": draw, "scheme": "ERM", "config": config}
            rows.append({**row, **seen})
    return rows


def test_what_ranks_as_the_truth_agrees_and_regrets_nothing() -> None:
    rows = pl.DataFrame(made_up(draws=1))
    assert judged(rows, ["cv"]) == pytest.approx((1.0, 0.0))
    assert judged(rows, ["id_val"]) == pytest.approx((-1.0, 1.1))
    shown = agreement(pl.DataFrame(made_up()))
    assert [row["criterion"] for row in shown] == list(CRITERIA)
    assert shown[2]["Spearman"] == "1.00 (1.00, 1.00)"
    assert shown[2]["configurations"] == "12/12"


def test_nobody_who_is_the_truth_or_held_out_is_learned_from(tmp_path: Path) -> None:
    world = structural(tmp_path / "d", 0)
    known = set(groups_of(world.data.train))
    assert len(known) == 3
    assert not known & set(groups_of(world.made))
    assert set(groups_of(world.data.id_val)) == known
    assert not known & (set(groups_of(world.truth)) | set(groups_of(world.data.ood_val)))


def test_of_real_data_half_of_the_new_groups_are_the_truth(tmp_path: Path) -> None:
    structural(tmp_path / "d", 0)
    table = pl.read_parquet(tmp_path / "d" / "samples.parquet")
    # By speakers, of whom `ood_val` has several.
    table.drop("environment").write_parquet(tmp_path / "d" / "samples.parquet")
    world = of_development(tmp_path / "d", 1)
    seen, truth = (set(groups_of(one)) for one in (world.data.ood_val, world.truth))
    assert not seen & truth
    assert len(truth) - len(seen) in (0, 1)
    assert set(world.truth.samples["split"]) <= {"ood_val"}


def test_what_was_trained_is_not_trained_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text("".join(f"{json.dumps(row)}\n" for row in made_up()))
    main(["--draws", "2", "--schemes", "ERM", "--out", str(kept)])
    assert "12/12" in capsys.readouterr().out
    assert len(kept.read_text().splitlines()) == 24
