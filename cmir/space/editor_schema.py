"""The JSON Schema of sweep files, with which editors complete and check them.

`python -m cmir.space.editor_schema > search_spaces/schema.json` writes the one that is shipped;
with the names of plugins behind it, theirs are among the keys and the values.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from cmir.cli import print_error
from cmir.config import TrialConfig, number_kind
from cmir.dotted_keys import MODALITY, fields_of, is_by_modality
from cmir.errors import InputError
from cmir.plugins import load_plugins
from cmir.space.search_space import TAKEN
from cmir.space.space_file import Choice, Range, SweepFile

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> Schema:
    """What a sweep file may say, each key of `search`, `fixed` and `start_from` with its values."""
    schema = SweepFile.model_json_schema()
    values = {key: _value(key, field) for key, field in fields_of(TrialConfig).items()}
    searched = {key: value for key, value in values.items() if key not in TAKEN}
    definitions = {_name(key): value for key, value in searched.items()}
    when = _keyed({key: {"type": "array", "items": _reference(key)} for key in searched})
    definitions["when"] = when
    settings = _keyed({key: _reference(key) for key in searched})
    schema["$defs"] |= definitions
    for unused in (Choice, Range):
        schema["$defs"].pop(unused.__name__, None)
    properties = schema["properties"]
    properties["fixed"] |= settings
    properties["search"] |= _keyed({key: _dimension(key) for key in searched})
    properties["start_from"] |= {"items": settings}
    return {"$schema": DIALECT} | schema


def main(plugins: Sequence[str]) -> int:
    """Prints the schema; returns the exit code."""
    try:
        load_plugins(plugins, "command line")
    except InputError as error:
        print_error(error)
        return 2
    print(json.dumps(json_schema(), indent=1, ensure_ascii=False))
    return 0


def _value(key: str, field: FieldInfo) -> Schema:
    """The values of one setting: as its model has them, but null, which no sweep file can say."""
    kind: Any = field.annotation
    if is_by_modality(field):
        kind = kind.__args__[1]
    schema: Schema = TypeAdapter(_annotated(kind, field)).json_schema()
    return _without_null(schema)


def _annotated(kind: Any, field: FieldInfo) -> Any:
    described = [FieldInfo(description=field.description)] if field.description else []
    extra = (*(() if is_by_modality(field) else field.metadata), *described)
    return Annotated[(kind, *extra)] if extra else kind


def _without_null(schema: Schema) -> Schema:
    options = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(options) != 1:
        return schema
    return {**options[0], **{key: value for key, value in schema.items() if key != "anyOf"}}


def _dimension(key: str) -> Schema:
    """The forms of a dimension: a list of choices, choices with conditions, a range of numbers."""
    choices = {"type": "array", "items": _reference(key), "minItems": 1, "uniqueItems": True}
    when = {"$ref": "#/$defs/when"}
    forms = [choices, _closed({"choices": choices, "when": when}, ["choices"])]
    if number_kind(key) is not None:
        ends = {"low": _reference(key), "high": _reference(key)}
        scale: Schema = {
            "log": {"type": "boolean"},
            "step": {"type": "number", "exclusiveMinimum": 0},
        }
        forms.append(_closed({**ends, **scale, "when": when}, ["low", "high"]))
    return {"anyOf": forms}


def _closed(properties: Mapping[str, Schema], required: Sequence[str]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def _keyed(by_key: Mapping[str, Schema]) -> Schema:
    """An object with these keys and no others; any word stands for `<modality>`."""
    named = {key: one for key, one in by_key.items() if MODALITY not in key}
    free = {_pattern(key): one for key, one in by_key.items() if MODALITY in key}
    return {
        "type": "object",
        "properties": named,
        "patternProperties": free,
        "additionalProperties": False,
    }


def _pattern(key: str) -> str:
    return f"^{re.escape(key.removesuffix(MODALITY))}[^.]+$"


def _reference(key: str) -> Schema:
    return {"$ref": f"#/$defs/{_name(key)}"}


def _name(key: str) -> str:
    """Of the definition of a key's values; a reference is a URI, which takes no `<`."""
    return key.removesuffix(f".{MODALITY}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
