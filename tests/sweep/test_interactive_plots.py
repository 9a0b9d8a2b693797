"""The page to click in: drawn where plotly is installed, from records alone."""

from __future__ import annotations

import pytest

from cmir.sweep.interactive_plots import interactive_page
from tests.support.small_records import random_sweep, record

MAE = "ood_val/mae"


def test_the_page_names_its_sweep_and_needs_no_network() -> None:
    pytest.importorskip("plotly")
    page = interactive_page(random_sweep(30), MAE, "sweep mine on ours")
    assert "<h3>sweep mine on ours: ood_val/mae</h3>" in page
    assert "loss.invariance" in page
    assert "<script src=" not in page
    assert page.count("plotly-graph-div") >= 2


def test_of_one_trial_there_is_no_page() -> None:
    assert interactive_page([record(0)], MAE, "sweep mine on ours") == ""
