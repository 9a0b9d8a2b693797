"""Pages filled in from templates, and that every template travels with the package."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

import cmir
from cmir.pages import page

PACKAGE = Path(cmir.__file__).parent
TEMPLATES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.j2"))


def test_a_page_has_no_blank_lines_at_its_ends_and_never_two_in_a_row() -> None:
    gates = {"gate_columns": ["gate", "passed"], "gate_rows": [["seeds", "yes"]]}
    candidates = {"candidate_columns": ["trial"], "candidate_rows": [["7"]]}
    text = page("promotion/report/refusal.md.j2", plan={"sweep": "mosi"}, **gates, **candidates)
    assert text.splitlines() == [
        "No model of the sweep `mosi` was registered.",
        "",
        "| gate | passed |",
        "| --- | --- |",
        "| seeds | yes |",
        "",
        "| trial |",
        "| --- |",
        "| 7 |",
    ]


def test_a_value_that_a_template_names_and_nobody_gave_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'resampled' is undefined"):
        page("ablation/how_to_read.md.j2", seeds=[0, 1])
