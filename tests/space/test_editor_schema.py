"""The schema as an editor uses it: shipped files are right by it, and what is wrong is marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from cmir.config import known_keys
from cmir.space.editor_schema import json_schema
from cmir.space.search_space import TAKEN
from tests.support.small_sweep import SMALL

SPACES = Path(__file__).resolve().parents[2] / "search_spaces"
SHIPPED = sorted(SPACES.rglob("*.yaml"))


@pytest.fixture(scope="module")
def editor() -> Draft202012Validator:
    schema = json.loads((SPACES / "schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_shipped_schema_is_that_of_the_models() -> None:
    assert json.loads((SPACES / "schema.json").read_text()) == json_schema()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_editor_finds_no_fault_in_a_shipped_space(
    editor: Draft202012Validator, path: Path
) -> None:
    assert [error.message for error in editor.iter_errors(yaml.safe_load(path.read_text()))] == []


def test_an_editor_completes_every_key_below_fixed_search_and_start_from() -> None:
    schema = json_schema()["properties"]
    keys = {key for key in known_keys() if "<" not in key} - set(TAKEN)
    for place in (schema["fixed"], schema["search"], schema["start_from"]["items"]):
        assert set(place["properties"]) == keys
        assert len(place["patternProperties"]) == 4


@pytest.mark.parametrize(
    ("place", "key", "value", "is_right"),
    [
        ("fixed", "loss.reduction", "sum", True),
        ("fixed", "loss.reduction", "max", False),
        ("fixed", "loss.invarience", 0.1, False),
        ("fixed", "environments.partition", "speaker", True),
        ("fixed", "environments.rate.vision", 0.5, True),
        ("fixed", "environments.rate.vision", 1.5, False),
        ("fixed", "environments.rate.vision.left", 0.5, False),
        ("fixed", "model.unimodal.text", "lstm", False),
        ("fixed", "model.modalities", ["text"], True),
        ("fixed", "training.epochs", 3, False),
        ("search", "environments.view", ["none", "swap"], True),
        ("search", "environments.view", ["none", "swop"], False),
        ("search", "environments.view", "swap", False),
        ("search", "environments.view", {"low": 1, "high": 2}, False),
        ("search", "loss.invariance", {"low": 1.0e-4, "high": 1.0, "log": True}, True),
        ("search", "loss.invariance", {"low": "1e-4", "high": 1.0}, False),
        ("search", "loss.invariance", {"low": -1.0, "high": 1.0}, False),
        ("search", "loss.invariance", {"low": 0.0, "hihg": 1.0}, False),
        ("search", "environments.count", {"low": 1.5, "high": 3}, False),
        ("search", "environments.count", {"choices": [1], "when": {"loss.penalty": [3]}}, False),
        (
            "search",
            "environments.count",
            {"choices": [1, 2], "when": {"environments.view": ["noise"]}},
            True,
        ),
    ],
)
def test_an_editor_marks_what_is_wrong_and_nothing_else(
    editor: Draft202012Validator, place: str, key: str, value: Any, is_right: bool
) -> None:
    content = SMALL | {"fixed": {}, "search": {}, "start_from": []}
    assert editor.is_valid(content | {place: {key: value}}) is is_right
    if place == "fixed":
        assert editor.is_valid(content | {"start_from": [{key: value}]}) is is_right
