"""The worked examples of docs/extending.md, as the plugin and the sweep file that they are."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmir.extensions import DOORS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
PLUGIN = "my_extensions"


def blocks(language: str) -> list[str]:
    """The examples in one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)


def write_plugin(folder: Path, name: str = PLUGIN, text: str | None = None) -> Path:
    """The plugin of the examples, or one with another text."""
    path = folder / f"{name}.py"
    path.write_text("\n\n".join(blocks("python")) if text is None else text)
    return path


@contextmanager
def plugins_in(folder: Path) -> Iterator[None]:
    """Works in a folder with plugins; what they add is gone afterwards, as are their modules."""
    before = {door: dict(found._open()) for door, found in DOORS.items()}
    places, here = list(sys.path), Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)
        sys.path[:] = places
        for door, found in before.items():
            DOORS[door]._found = found
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]
