"""Small feature files for the paper's six data sets, each in the layout that its file has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.support.made_data.small_data import Content, write_pickle
from tests.support.made_data.small_layouts import hkt_content, write_clue

STEPS = 3
SIZES = {"train": 60, "valid": 16, "test": 16}


def write_source(name: str, folder: Path) -> Path:
    """The feature file, or folder of files, of one sweep file in search_spaces/paper."""
    if name == "mosi_ood":
        return write_clue(folder / "clue")
    if name in ("ur_funny", "mustard"):
        return write_pickle(folder / f"{name}.pkl", hkt_content())
    audio, vision, scale = {"mosi": (74, 47, 3), "mosei": (74, 35, 3), "sims_v2": (25, 177, 1)}[
        name
    ]
    return write_pickle(folder / f"{name}.pkl", _mmsa(audio, vision, scale, name == "sims_v2"))


def _mmsa(audio: int, vision: int, scale: int, has_vectors: bool) -> Content:
    """MMSA's pickle; CH-SIMS v2 has audio and vision as vectors."""
    rng = np.random.default_rng(0)
    steps = 1 if has_vectors else STEPS

    def split(name: str, count: int) -> dict[str, Any]:
        return {
            "id": [f"{name}{k % 12}$_${k}" for k in range(count)],
            "text": rng.normal(size=(count, STEPS, 768)).astype(np.float32),
            "audio": rng.normal(size=(count, steps, audio)).astype(np.float32),
            "vision": rng.normal(size=(count, steps, vision)).astype(np.float32),
            "regression_labels": rng.uniform(-scale, scale, count).astype(np.float32),
        }

    return {name: split(name, count) for name, count in SIZES.items()}
