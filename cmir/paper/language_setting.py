"""The paper's own setting: the language model is fine-tuned with the rest."""

from __future__ import annotations

from typing import Any

from cmir.errors import InputError
from cmir.paper.published_numbers import LANGUAGE, paper_row
from cmir.space.space_file import SweepFile

RATE = "training.backbone_learning_rate"


def with_backbone(file: SweepFile, backbone: str) -> dict[str, Any]:
    """What changes in a sweep file of the paper where its text is read by a language model.

    The model moves at the learning rate of Table 7; the rest, which starts at random, keeps the
    rates that the file searches.

    Args:
        file: of `search_spaces/paper`, for frozen features.
        backbone: a folder, or a name.

    Raises:
        InputError: the paper has no such row, or the file has a language model already.
    """
    if "model.backbone.text" in file.fixed:
        raise InputError(
            f"--backbone {backbone}: '{file.name}' has a language model already, "
            f"{file.fixed['model.backbone.text']}. Leave the option out, or edit the file."
        )
    rate = paper_row(file.name).learning_rate
    fixed = {**file.fixed, "model.backbone.text": backbone, RATE: rate}
    return {"name": f"{file.name}{LANGUAGE}", "fixed": fixed}
