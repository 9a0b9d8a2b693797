"""Writes `docs/map.md`, one line for each file of the code: `python -m tests.support.code_map`."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.project_files import ROOT, project_files

FILE = ROOT / "docs" / "map.md"
HEAD = """# Map of the code

Imports go one way: each room may import those above it in this list, and `serving` knows neither
Ray nor Optuna nor the sweep (`tests/test_architecture.py` holds both). The tests lie like the code:
what `cmir/data/writing.py` does is tested in `tests/data/test_writing.py`, whole sweeps in
`tests/integration/`, and what several tests share is in `tests/support/`. `make map` writes this
page.
"""
# In the order in which they may import each other.
ROOMS = (
    *("cmir", "cmir/process", "cmir/metrics", "cmir/data", "cmir/method", "cmir/evaluation"),
    *("cmir/serving", "cmir/space", "cmir/runner", "cmir/registry", "cmir/sweep"),
    *(
        "cmir/promotion",
        "cmir/paper",
        "cmir/ablation",
        "cmir/rivals",
        "cmir/commands",
        "workflows",
        "benchmarks",
        "experiments",
    ),
)
# Of folders without a docstring of their own, or whose docstring is about something else.
TITLES = {
    "cmir": "What every package may use",
    "workflows": "The commands as scripts of a checkout",
    "benchmarks": "What is timed: each prints a table and keeps a Parquet file",
    "benchmarks/stacks": "The stacks that `compare.py` runs beside this project",
    "benchmarks/support": "What several benchmarks share",
    "experiments/verdicts": "Worlds with none, one or two spurious modalities, searched",
    "experiments": "Questions about the method, on data whose truth is known",
}


def code_map() -> str:
    """The page."""
    folders: dict[str, list[Path]] = {}
    for name in project_files():
        if name.endswith(".py"):
            path = ROOT / name
            folders.setdefault(path.parent.relative_to(ROOT).as_posix(), []).append(path)
    chosen = sorted((name for name in folders if _place(name) is not None), key=_order)
    return "\n".join([HEAD, *(_section(name, folders[name]) for name in chosen)])


def _place(folder: str) -> int | None:
    """The room of a folder, by its place."""
    found = [i for i, room in enumerate(ROOMS) if f"{folder}/".startswith(f"{room}/")]
    return found[-1] if found and (folder == "cmir" or found != [0]) else None


def _order(folder: str) -> tuple[int, str]:
    return _place(folder) or 0, folder


def _section(folder: str, files: list[Path]) -> str:
    title = TITLES.get(folder) or _first_line(ROOT / folder / "__init__.py")
    named = [path for path in sorted(files) if path.name != "__init__.py"]
    lines = [f"- `{path.name}`: {_first_line(path)}" for path in named]
    return "\n".join([f"## {folder}/", "", f"{title}.", "", *lines, ""])


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    # A first sentence may take two lines.
    return " ".join(text.partition("\n\n")[0].split()).rstrip(".:")


if __name__ == "__main__":
    FILE.write_text(code_map(), encoding="utf-8")
