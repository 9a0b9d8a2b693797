"""The paper's tables again, ours below: never a blank, never a stand-in taken for the real."""

from __future__ import annotations

from typing import Any

import pytest

from cmir.errors import InputError
from cmir.paper.paper_table import NO_DATA, entry, tables
from cmir.paper.protocol import Reproduction
from cmir.paper.published_numbers import PAPER, paper_row


def found(space: str = "paper_mosi", **changes: Any) -> Reproduction:
    row = paper_row(space)
    heldout = {f"{row.split}/{score.metric}": 0.5 for score in row.scores}
    heldout |= {f"{key}_std": 0.012 for key in heldout}
    sizes = {"train": 1220, "id_val": 229, "ood_val": 64, row.split: 686}
    arguments: dict[str, Any] = {
        "space": space,
        "sweep": space,
        "trial": 7,
        "finished": 50,
        "seeds": (1000, 1001, 1002, 1003, 1004),
        "heldout": heldout,
        "accesses": 1,
        "sizes": sizes,
        "features": dict(row.sizes),
        "source": "aligned_50.pkl",
    }
    return Reproduction(**(arguments | changes))


def test_all_six_rows_stand_in_tables_by_their_columns() -> None:
    heads = [head for head, _ in tables([entry(name, None) for name in PAPER])]
    lines = [line for _, part in tables([entry(name, None) for name in PAPER]) for line in part]
    assert len(lines) == 12
    assert heads[0] == ["data set", "scores", "Acc7", "Acc2", "F1", "MAE", "Corr"]
    assert all(cell for line in lines for cell in line)


def test_published_numbers_are_shown_as_printed() -> None:
    shown = {name: entry(name, None).lines[0][2:] for name in PAPER}
    assert shown == {
        "paper_mosi": ["49.8", "89.6", "89.5", "0.616", "0.853"],
        "paper_mosei": ["55.1", "87.8", "87.7", "0.513", "0.793"],
        "paper_mosi_ood": ["48.5", "84.4", "83.0"],
        "paper_sims_v2": ["56.0", "75.0", "81.9", "82.0", "0.286", "0.742"],
        "paper_ur_funny": ["76.46"],
        "paper_mustard": ["80.00"],
    }


def test_without_data_a_row_says_so() -> None:
    assert entry("paper_mosei", None).lines[1] == ["CMU-MOSEI", NO_DATA, *["-"] * 5]
    assert entry("paper_mosei", None).note == ""


def test_ours_is_mean_and_spread_in_the_units_of_the_paper() -> None:
    line = entry("paper_mosi", found()).lines[1]
    assert line[1:3] == ["ours, mean ± sd of 5 seeds", "50.0 ± 1.2"]
    assert line[5:] == ["0.500 ± 0.012", "0.500 ± 0.012"]


def test_the_stand_in_is_called_so() -> None:
    one = entry("paper_mosi-synthetic", found(space="paper_mosi-synthetic"))
    assert one.lines[1][1].startswith("SYNTHETIC STAND-IN")
    assert "says nothing about the paper" in one.note


def test_other_features_than_the_papers_are_told() -> None:
    assert "no like for like" not in entry("paper_mosi", found()).note
    other = entry("paper_mosi", found(features={"text": 128, "audio": 73, "vision": 100}))
    assert "text 128, audio 73, vision 100, not the paper's (text 768" in other.note


def test_a_diverged_retraining_is_no_blank() -> None:
    line = entry("paper_mosi", found(heldout={})).lines[1]
    assert line == ["CMU-MOSI", "not reproduced: trial 7 diverged when trained again", *["-"] * 5]


def test_a_metric_that_was_not_measured_is_called_so() -> None:
    heldout = {"id_test/mae": 0.7, "id_test/mae_std": 0.01}
    assert entry("paper_mosi", found(heldout=heldout)).lines[1][2] == "not measured"


def test_a_sweep_that_is_none_of_the_papers_is_refused() -> None:
    with pytest.raises(InputError, match="'mosi': the paper reports on paper_mosi"):
        entry("mosi", None)
