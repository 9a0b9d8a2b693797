from __future__ import annotations

import pytest

from cmir.errors import InputError
from cmir.paper.language_setting import with_backbone
from cmir.paper.published_numbers import PAPER, paper_row
from cmir.space.search_space import checked_space
from tests.support.small_protocol import shipped


@pytest.mark.parametrize("name", sorted(PAPER))
def test_every_row_can_be_run_with_a_language_model_at_its_published_rate(name: str) -> None:
    file = shipped(name.removeprefix("paper_"))
    changed = file.model_copy(update=with_backbone(file, "models/bert"))
    space = checked_space(changed, name)
    config = space.trial(next(values for _, values in space.corners()))
    assert config.model.backbone == {"text": "models/bert"}
    assert config.training.backbone_rate == PAPER[name].learning_rate
    assert paper_row(changed.name) == paper_row(f"{changed.name}-synthetic") == PAPER[name]


def test_a_file_with_a_language_model_keeps_it() -> None:
    file = shipped("mosi")
    own = file.model_copy(update={"fixed": {**file.fixed, "model.backbone.text": "minilm"}})
    with pytest.raises(InputError, match="has a language model already, minilm"):
        with_backbone(own, "models/bert")
