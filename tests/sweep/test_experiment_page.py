"""The view of trials that MLflow's pages open: what is filtered, sorted and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cmir.space.shipped_spaces import shipped_folder, shipped_spaces
from cmir.space.space_file import parse_sweep, read_sweep_file
from cmir.sweep.experiment_page import trials_view, view_path
from tests.support.small_sweep import SMALL

# MLflow refuses longer tags of an experiment.
LONGEST = 5000


@pytest.mark.parametrize(
    ("objective", "is_ascending", "inside"),
    [
        ("ood_val/mae", True, "metrics.`best/id_val/mae`"),
        ("ood_val/corr", False, "metrics.`best/id_val/corr`"),
    ],
)
def test_the_best_trial_stands_on_top_whichever_way_is_better(
    objective: str, is_ascending: bool, inside: str
) -> None:
    view = trials_view(parse_sweep(SMALL | {"objective": objective}, "small.yaml"))
    assert view["orderByKey"] == "metrics.`best/objective`"
    assert view["orderByAsc"] is is_ascending
    assert view["searchFilter"] == "tags.kind = 'trial'"
    shown = {inside, f"metrics.`{objective}_std`", "params.`training.learning_rate`"}
    assert shown <= set(view["selectedColumns"])


def test_in_distribution_validation_is_not_shown_twice() -> None:
    view = trials_view(parse_sweep(SMALL | {"objective": "id_val/mae"}, "small.yaml"))
    assert [one for one in view["selectedColumns"] if "best/" in one] == [
        "metrics.`best/objective`"
    ]


@pytest.mark.parametrize("name", shipped_spaces())
def test_the_view_of_every_shipped_space_fits_a_tag(name: str) -> None:
    file = read_sweep_file(Path(shipped_folder(), f"{name}.yaml"))
    assert len(json.dumps(trials_view(file))) < LONGEST
    assert view_path("3").endswith("/3/runs?viewStateShareKey=trials")
