"""Whether a version can be loaded here: its files are there, and so is what its code imports."""

from __future__ import annotations

import ast
import importlib
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import mlflow
from mlflow import MlflowException
from requests.exceptions import RequestException

from cmir.registry.shipped_code import PROJECT, imports
from cmir.registry.versions import Version, in_silence

SHIPPED = "code"


def why_not_loadable(one: Version) -> str:
    """What keeps a version from being loaded in this process, as a sentence; empty if nothing does.

    Only its code is fetched, not its weights.
    """
    with tempfile.TemporaryDirectory() as temporary, in_silence():
        folder = Path(temporary)
        try:
            _fetch_code(f"models:/{one.model}/{one.number}", folder)
        except (MlflowException, OSError, RequestException) as error:
            return f"its files cannot be read: {str(error).strip().splitlines()[0]}"
        if not list(folder.glob("*.py")):
            return "it holds no code, or its files are gone"
        return next(unresolved_imports(folder), "")


def unresolved_imports(folder: Path) -> Iterator[str]:
    """A sentence for each import of a version's code that leads nowhere.

    Args:
        folder: with the file that MLflow runs and, if the version ships code, that code in `code/`.
    """
    shipped = {path.stem for path in (folder / SHIPPED).glob("*")}
    for path in sorted(folder.rglob("*.py")):
        for node in imports(path.read_text(encoding="utf-8")):
            for module, name in _imported(node):
                top = module.partition(".")[0]
                if top not in shipped and top not in sys.stdlib_module_names:
                    yield from _fault(module, name)


def _fetch_code(uri: str, folder: Path) -> None:
    names = [file.path for file in mlflow.artifacts.list_artifacts(artifact_uri=uri)]
    for name in names:
        if name == SHIPPED or name.endswith(".py"):
            mlflow.artifacts.download_artifacts(f"{uri}/{name}", dst_path=str(folder))


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """Modules and the names taken from them; an empty name where the module itself is."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield str(node.module), alias.name
        else:
            yield alias.name, ""


def _fault(module: str, name: str) -> Iterator[str]:
    top = module.partition(".")[0]
    if top != PROJECT:
        if find_spec(top) is None:
            yield f"its code needs the library {top}, which is not installed here"
    elif not _has(module, name):
        what = f"{name} of {module}" if name else module
        yield (
            f"it was registered before versions shipped their code, and imports {what}, which "
            f"{PROJECT} no longer has; promote its sweep again"
        )


def _has(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name) if name else bool(find_spec(module))
    except ImportError:
        return False
