"""What all parts of a configuration share: frozen, strict, and which fields a stack may mix."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

PER_REPLICA: dict[str, Any] = {"per_replica": True}


class Section(BaseModel):
    """Base of all configuration models: frozen, strict types, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
