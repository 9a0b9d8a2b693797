"""Pages in Markdown, filled in from templates (`*.md.j2`) that lie beside the code that asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def page(template: str, **values: Any) -> str:
    """The template with its values: no blank line at either end, and never two in a row.

    Args:
        template: its path below `cmir/`.
        values: what it names; a name that is missing is an error.
    """
    text = _environment().get_template(template).render(values)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment


def _digits(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


FILTERS: Mapping[str, Callable[[Any], str]] = {
    "code": "`{}`".format,
    "decimals": "{:.4f}".format,
    "signed": "{:+.4f}".format,
    "digits": _digits,
}
