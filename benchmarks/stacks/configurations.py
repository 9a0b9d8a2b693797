"""Configurations to train, drawn from a sweep file's space with a fixed seed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.stacks.plain_cmir import KNOWN
from benchmarks.support.timed import ROOT
from cmir.config import TrialConfig
from cmir.space.search_space import Assignment, SearchSpace
from cmir.space.space_file import Choice, Range, SweepFile, Value, read_sweep_file

SPACE = ROOT / "search_spaces" / "mosi.yaml"
VIEW = "environments.view"
DRAWING_SEED = 2026


def draw(
    space: SearchSpace, count: int, seed: int = DRAWING_SEED, alike: int = 1
) -> list[Assignment]:
    """Configurations of active dimensions only; the view schemes of the space take turns.

    So many neighbours are alike in what shapes a network, as those that a packed sweep suggests.
    """
    rng, views = np.random.default_rng(seed), cycle(space.dimensions[VIEW].ends)
    drawn: list[Assignment] = []
    while len(drawn) < count:
        first = _draw_one(space, {VIEW: next(views)}, rng)
        structure = space.trial(first).structure
        fixed = {key: value for key, value in first.items() if key in structure}
        drawn += [first, *(_draw_one(space, fixed, rng) for _ in range(alike - 1))]
    return drawn[:count]


def add_arguments(parser: argparse.ArgumentParser, configurations: int, alike: int) -> None:
    """The options of what is drawn and trained, with these numbers unless told otherwise."""
    parser.add_argument("--data", type=Path, default=Path("data/mosi"), help="dataset folder")
    parser.add_argument("--space", type=Path, default=SPACE, help="sweep file to draw from")
    parser.add_argument("--configurations", type=int, default=configurations)
    parser.add_argument("--alike", type=int, default=alike, help="neighbours of the same structure")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)


def read_space(path: Path) -> SearchSpace:
    """The space of a sweep file, without its data."""
    return SearchSpace(read_sweep_file(path), str(path))


def shared_settings(file: SweepFile) -> dict[str, Any]:
    """What all configurations of a sweep file have in common: its fixed settings, and defaults."""
    defaults = TrialConfig().flat()
    return {key: defaults[key] for key in KNOWN if key in defaults} | file.fixed


def sweep_of(
    file: SweepFile, configurations: list[Assignment], data: Path, seeds: int, epochs: int
) -> dict[str, Any]:
    """The content of a sweep file that runs these configurations to the end, and no other."""
    content = file.model_dump(mode="json", include={"fixed", "search", "objective"})
    return content | {
        "name": "compare",
        "data": {"path": str(data)},
        "trials": len(configurations),
        "seeds": seeds,
        "epochs": epochs,
        "fixed": {**file.fixed, "training.patience": epochs},
        "start_from": configurations,
        "early_stopping": {"enabled": False},
    }


def write_sweep(content: dict[str, Any], folder: Path) -> Path:
    """The content as a sweep file in a folder."""
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _draw_one(
    space: SearchSpace, given: Mapping[str, Value], rng: np.random.Generator
) -> Assignment:
    values: Assignment = {}
    for key, form in space.dimensions.items():
        if space.is_active(key, values):
            values[key] = given[key] if key in given else _value(space, key, form, rng)
    return values


def _value(space: SearchSpace, key: str, form: Choice | Range, rng: np.random.Generator) -> Value:
    if isinstance(form, Choice):
        return form.choices[int(rng.integers(len(form.choices)))]
    if space.is_integer(key):
        return int(rng.integers(int(form.low), int(form.high) + 1))
    if form.log:
        return float(np.exp(rng.uniform(np.log(form.low), np.log(form.high))))
    return float(rng.uniform(form.low, form.high))
