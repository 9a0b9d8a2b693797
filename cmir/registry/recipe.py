"""What a version carries so that it can be trained again: configuration, data, machine, scores."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field, ValidationError

from cmir.config import Section, TrialConfig
from cmir.data import MultimodalDataset
from cmir.errors import InputError
from cmir.method.training.reports import TrialResult
from cmir.plugins import load_plugins, needed_plugins

RECIPE = "reproduction.json"


class Recipe(Section):
    """Everything that decides the weights, and the scores that came of it.

    `dataset` is the folder as the sweep knew it; `by_seed` has one value for each seed; `plugins`
    are the modules from outside that the configuration needs.
    """

    format: Literal[1] = 1
    config: TrialConfig
    dataset: str
    data: str
    data_checksum: str
    development_checksum: str
    device: str
    threads: int
    by_seed: dict[str, list[float | None]]
    code: dict[str, str]
    plugins: tuple[str, ...] = Field((), strict=False)


def recipe_of(
    result: TrialResult,
    dataset: MultimodalDataset,
    folder: str,
    device: str,
    code: Mapping[str, str],
) -> Recipe:
    """The recipe of a finished training.

    Args:
        result: of the training, which happened in this process.
        dataset: that it was trained on.
        folder: of the data set, as it is written down.
        device: where.
        code: tags that name the code and the libraries.
    """
    by_seed = {
        key: [float(v) if math.isfinite(v) else None for v in values]
        for key, values in result.by_seed.items()
    }
    return Recipe(
        config=result.config,
        dataset=folder,
        data=dataset.name,
        data_checksum=dataset.checksum,
        development_checksum=dataset.development().checksum,
        device=device,
        threads=torch.get_num_threads(),
        by_seed=by_seed,
        code=dict(code),
        plugins=needed_plugins(result.config),
    )


def read_recipe(text: str, where: str) -> Recipe:
    """The recipe of a version.

    Raises:
        InputError: the text is none, or a plugin that the version needs cannot be imported.
    """
    load_plugins(_named_plugins(text), where)
    try:
        return Recipe.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: {RECIPE} is not usable: {place}: {first['msg']}.") from None


def _named_plugins(text: str) -> list[str]:
    """The plugins that a recipe names; the check of the whole says where it is none."""
    try:
        content = json.loads(text)
    except ValueError:
        return []
    return list(content.get("plugins", ())) if isinstance(content, dict) else []
