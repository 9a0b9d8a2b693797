"""The code that a version ships: what its model imports of this project, under a name of its own.

A version must load where this project is not installed, and where another state of it is installed
and imported. So the modules that `cmir.serving.pyfunc_model` reaches by its imports are copied into
a package `cmir_served_<hash of the copy>`, and their imports follow: nothing else bears that name,
and versions that share it share every line. Packages come without what their `__init__` does.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path, PurePosixPath

import cmir

PROJECT = cmir.__name__
ROOT = Path(cmir.__file__).parent
ENTRY = f"{PROJECT}.serving.pyfunc_model"
LANGUAGE_ENTRY = f"{PROJECT}.serving.pyfunc_language_model"
ENTRY_FILE = "pyfunc_model.py"


@dataclass(frozen=True)
class ShippedCode:
    """What a version ships beside its weights.

    Attributes:
        package: the name of the package, which no other code has.
        files: path below the version's code folder to the text of the file.
        libraries: top-level names that the files import from elsewhere, sorted.
    """

    package: str
    files: Mapping[str, str]
    libraries: tuple[str, ...]

    @property
    def requirements(self) -> list[str]:
        """The libraries as installed here, `name==version`, as an index knows them."""
        known = packages_distributions()
        # Several distributions may fill one package, as `mlflow` and `mlflow-skinny` do.
        names = [name if name in known[name] else known[name][0] for name in self.libraries]
        return [f"{name}=={version(name).partition('+')[0]}" for name in names]

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Writes the files; returns the file that MLflow runs and the folder of the package."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder / ENTRY_FILE, folder / self.package


def shipped_code(entry: str = ENTRY, root: Path = ROOT) -> ShippedCode:
    """The module `entry` and all that it reaches by imports; `root` is the project's package.

    Imports below `if TYPE_CHECKING:` are not followed; those inside functions are.

    Raises:
        ValueError: a module takes a name from a package's `__init__`, or imports it in a form that
            cannot be renamed.
    """
    sources = reached_modules(entry, root)
    digest = hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()
    package = f"{PROJECT}_served_{digest[:12]}"
    renamed = {module: _renamed(source, package) for module, source in sources.items()}
    files = {ENTRY_FILE: renamed.pop(entry)}
    files |= {_path(module, package): source for module, source in renamed.items()}
    files |= dict.fromkeys(_inits(files), "")
    outside = {name.partition(".")[0] for source in sources.values() for name in _names(source)}
    libraries = sorted(outside - set(sys.stdlib_module_names) - {PROJECT})
    return ShippedCode(package, files, tuple(libraries))


def reached_modules(entry: str, root: Path = ROOT) -> dict[str, str]:
    """Sources of the modules that `entry` reaches by imports, itself among them, by dotted name.

    Raises:
        ValueError: as for `shipped_code`.
    """
    sources: dict[str, str] = {}
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        if module in sources:
            continue
        sources[module] = _file(module, root).read_text(encoding="utf-8")
        for node in imports(sources[module]):
            waiting += _targets(node, module, root)
    return sources


@contextmanager
def importable(folder: Path, package: str) -> Iterator[None]:
    """Inside, the package is found in the folder; afterwards it is as if it had never been there.

    MLflow runs a model's code once to log it, from where it lies then; who loads the version in
    this process gets the version's own files.
    """
    path, modules = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        for name in [one for one in sys.modules if _is_in(one, package) and one not in modules]:
            del sys.modules[name]


def imports(source: str) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import of a source that may run: those below `if TYPE_CHECKING:` are left out."""
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _names(source: str) -> Iterator[str]:
    """Dotted names of the modules that a source imports."""
    for node in imports(source):
        if isinstance(node, ast.ImportFrom):
            yield str(node.module)
        else:
            yield from (alias.name for alias in node.names)


def _targets(node: ast.Import | ast.ImportFrom, importer: str, root: Path) -> list[str]:
    """The modules of the project that one import names."""
    if isinstance(node, ast.Import):
        if any(_is_ours(alias.name) for alias in node.names):
            raise ValueError(_fault(importer, node, "write it as `from MODULE import NAME`"))
        return []
    if node.level:
        raise ValueError(_fault(importer, node, "write the full name of the module"))
    if not _is_ours(str(node.module)):
        return []
    if _file(str(node.module), root).is_file():
        return [str(node.module)]
    found = [f"{node.module}.{alias.name}" for alias in node.names]
    if not all(_file(module, root).is_file() for module in found):
        raise ValueError(_fault(importer, node, "import names from the module that defines them"))
    return found


def _fault(importer: str, node: ast.AST, remedy: str) -> str:
    return (
        f"{importer} is shipped with registered versions, under another name and without what "
        f"packages do in their __init__, but has `{ast.unparse(node)}`: {remedy}."
    )


def _renamed(source: str, package: str) -> str:
    """The source with the project's name replaced in its imports, and nowhere else."""
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and _is_ours(str(node.module)):
            row = node.lineno - 1
            lines[row] = re.sub(rf"\bfrom {PROJECT}\b", f"from {package}", lines[row], count=1)
    return "".join(lines)


def _is_ours(module: str) -> bool:
    return _is_in(module, PROJECT)


def _is_in(module: str, package: str) -> bool:
    return module.partition(".")[0] == package


def _file(module: str, root: Path) -> Path:
    return root.joinpath(*module.split(".")[1:]).with_suffix(".py")


def _path(module: str, package: str) -> str:
    return f"{'/'.join([package, *module.split('.')[1:]])}.py"


def _inits(files: Mapping[str, str]) -> list[str]:
    folders = {folder for name in files for folder in PurePosixPath(name).parents}
    return sorted(f"{folder}/__init__.py" for folder in folders if str(folder) != ".")
