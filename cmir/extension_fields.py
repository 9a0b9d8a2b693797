"""Fields of a configuration that name an extension, such as a plugin's view, and its settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from cmir.errors import SettingsError
from cmir.extensions import DOORS

Value = str | bool | int | float


@dataclass(frozen=True)
class NameOf:
    """A text that must be the name of an extension, or one of a few other words.

    Attributes:
        door: key of `DOORS`.
        others: words that mean no extension.
        is_open: whether any other text may be meant too, such as a column of the data.
    """

    door: str
    others: tuple[str, ...] = ()
    is_open: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What the text may be."""
        return (*self.others, *DOORS[self.door])

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        named = {"enum": list(self.names), "type": "string"}
        return {"anyOf": [named, {"type": "string"}]} if self.is_open else named

    def _checked(self, name: str) -> str:
        if self.is_open or name in self.others or name in DOORS[self.door]:
            return name
        *most, last = [f"'{one}'" for one in self.names]
        sentence = f"must be {', '.join(most)} or {last}" if most else f"must be {last}"
        # Braces would be read as places for the context.
        raise PydanticCustomError("name_of", sentence, {"known": list(self.names)})


@dataclass(frozen=True)
class SettingsOf:
    """Settings that extensions have of their own: name of the extension to setting to value.

    Attributes:
        door: key of `DOORS`.
    """

    door: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def keys(self) -> dict[str, Any]:
        """Keys below the field, `<extension>.<setting>`, with the field of each setting."""
        return {
            f"{name}.{setting}": field
            for name, one in DOORS[self.door].items()
            if one.settings is not None
            for setting, field in one.settings.model_fields.items()
        }

    def _checked(self, given: Mapping[str, Mapping[str, Value]]) -> dict[str, dict[str, Value]]:
        return {name: self._own(name, settings) for name, settings in given.items() if settings}

    def _own(self, name: str, settings: Mapping[str, Value]) -> dict[str, Value]:
        door = DOORS[self.door]
        having = [one for one in door if door[one].settings is not None]
        if name not in having:
            known = ", ".join(having) or "none"
            raise ValueError(
                f"must name a {door.what} with settings of its own ({known}), but got '{name}'"
            )
        model = door[name].settings
        try:
            return dict(model.model_validate(settings).model_dump(mode="json", exclude_unset=True))
        except ValidationError as error:
            raise SettingsError(name, error) from None


OwnSettings = dict[str, dict[str, Value]]


def own_settings() -> Any:
    """A field for settings that extensions have of their own; left out where there are none."""
    return Field(default_factory=dict, exclude_if=lambda given: not given)


def refuse_unused(field: str, given: Collection[str], key: str, chosen: Collection[str]) -> None:
    """Raises ValueError where settings are of an extension that is not the chosen one."""
    for name in given:
        if name not in chosen:
            came = " and ".join(f"'{one}'" for one in chosen) or "none"
            raise ValueError(
                f"{field}.{name} has no effect with {key.split('.')[1]} {came}: leave it out, or "
                f"give it a condition (when: {{{key}: [{name}]}})"
            )
