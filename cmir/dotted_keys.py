"""Dotted keys such as `loss.invariance`: all there are, the field of each, nested and flat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cmir.errors import InputError
from cmir.extension_fields import SettingsOf

MODALITY = "<modality>"


def fields_of(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """All dotted keys and their fields; a field with a value per modality is `key.<modality>`."""
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        key, kind, own = f"{prefix}{name}", field.annotation, _own_settings(field)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= fields_of(kind, f"{key}.")
        elif own is not None:
            found |= {f"{key}.{below}": one for below, one in own.keys().items()}
        else:
            found[f"{key}.{MODALITY}" if is_by_modality(field) else key] = field
    return found


def field_at(model: type[BaseModel], key: str) -> FieldInfo | None:
    """The field of a key, in which any word may stand for a modality; None for an unknown key."""
    name, _, rest = key.partition(".")
    field = model.model_fields.get(name)
    if field is None:
        return None
    kind, own = field.annotation, _own_settings(field)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return field_at(kind, rest)
    if own is not None:
        return own.keys().get(rest)
    return field if is_by_modality(field) == (rest != "") and "." not in rest else None


def is_by_modality(field: FieldInfo) -> bool:
    """Whether a field has one value for each modality."""
    return getattr(field.annotation, "__origin__", None) is dict and _own_settings(field) is None


def kinds_of(field: FieldInfo) -> tuple[Any, ...]:
    """The types that a value may have, of a field by modality those of one modality."""
    kind = get_args(field.annotation)[1] if is_by_modality(field) else field.annotation
    return (kind, *get_args(kind))


def nested(flat: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Dotted keys as mappings in mappings.

    Raises:
        InputError: a key is given as one value and by its parts.
    """
    found: dict[str, Any] = {}
    for key, value in flat.items():
        if any(other.startswith(f"{key}.") for other in flat):
            raise InputError(f"{where}: {key} is given as one value and by its parts: give one.")
        *sections, last = key.split(".")
        place = found
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return found


def flattened(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Mappings in mappings as dotted keys; an empty mapping is no key."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _own_settings(field: FieldInfo) -> SettingsOf | None:
    return next((one for one in field.metadata if isinstance(one, SettingsOf)), None)
