"""Examples of docstrings as code, for the reference: mkdocstrings knows them by another heading."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

HEADING = re.compile(r"^Example:$", re.MULTILINE)


class DoctestExamples(Extension):
    """Reads `Example:` as `Examples:`, the section that is shown as code."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Called for each module, class and function."""
        if obj.docstring is not None:
            obj.docstring.value = HEADING.sub("Examples:", obj.docstring.value)
