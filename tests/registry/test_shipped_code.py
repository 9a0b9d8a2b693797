"""The code that a version ships: all that it needs, nothing else, under a name that no one has."""

from __future__ import annotations

import ast
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from cmir.registry.shipped_code import (
    ENTRY_FILE,
    ROOT,
    ShippedCode,
    importable,
    imports,
    shipped_code,
)

LIBRARIES = ("mlflow", "numpy", "pandas", "pydantic", "pydantic_core", "safetensors", "torch")


def imported_by(code: ShippedCode) -> set[str]:
    nodes = [node for text in code.files.values() for node in imports(text)]
    names = [str(n.module) if isinstance(n, ast.ImportFrom) else n.names[0].name for n in nodes]
    return {name.partition(".")[0] for name in names}


def small_project(folder: Path, **sources: str) -> Path:
    """A package `cmir` with these modules; `a__b` is `a/b.py`."""
    for name, source in sources.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return folder


def changed_project(folder: Path) -> Path:
    """A copy of the project with one more line in a module that versions ship."""
    copy = folder / "cmir"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "serving" / "requests.py").open("a") as file:
        file.write("# another line\n")
    return copy


def test_it_stands_on_itself_and_on_the_libraries_it_requires() -> None:
    code = shipped_code()
    outside = imported_by(code) - set(sys.stdlib_module_names) - {code.package}
    assert tuple(sorted(outside)) == code.libraries == LIBRARIES
    assert code.requirements == [f"{n}=={version(n).partition('+')[0]}" for n in LIBRARIES]


def test_it_is_what_predicting_needs_and_small() -> None:
    code = shipped_code()
    packages = {name.split("/")[1] for name in code.files if name.count("/") > 1}
    assert packages == {"data", "method", "sections", "serving"}
    modules = [name for name in code.files if not name.endswith("__init__.py")]
    assert len(modules) <= 24
    assert sum(len(text) for text in code.files.values()) < 145_000
    assert code.files[ENTRY_FILE].count(f"from {code.package}.") >= 4


def test_what_is_shipped_can_be_imported_and_leaves_no_trace(tmp_path: Path) -> None:
    # Other code than any version that this process may have loaded already.
    code, before = shipped_code(root=changed_project(tmp_path)), list(sys.path)
    code.write(tmp_path)
    with importable(tmp_path, code.package):
        module = __import__(f"{code.package}.serving.predictor", fromlist=["load_ensemble"])
        assert Path(str(module.__file__)).is_relative_to(tmp_path)
        assert module.load_ensemble.__module__.startswith(f"{code.package}.")
    assert sys.path == before
    assert not [name for name in sys.modules if name.startswith(code.package)]


def test_other_code_has_another_name_and_the_same_code_the_same(tmp_path: Path) -> None:
    copy = tmp_path / "cmir"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "serving" / "score_files.py").open("a") as file:
        file.write("# a file that no version ships\n")
    assert shipped_code(root=copy) == shipped_code()
    assert (
        shipped_code(root=changed_project(tmp_path / "changed")).package != shipped_code().package
    )


def test_only_imports_are_renamed_and_types_are_not_followed(tmp_path: Path) -> None:
    root = small_project(
        tmp_path,
        entry=(
            '"""See\nfrom cmir.b import words."""\n'
            "from typing import TYPE_CHECKING\n"
            "import yaml\n"
            "if TYPE_CHECKING:\n    from cmir.types_only import T\n"
            "def later():\n    from cmir import b\n    return 'from cmir.b'\n"
        ),
        b="from cmir.c.d import (\n    e,\n)\n",
        c__d="e = 1\n",
    )
    code = shipped_code("cmir.entry", root)
    assert set(code.files) == {
        ENTRY_FILE,
        f"{code.package}/__init__.py",
        f"{code.package}/b.py",
        f"{code.package}/c/__init__.py",
        f"{code.package}/c/d.py",
    }
    assert code.libraries == ("yaml",)
    text = code.files[ENTRY_FILE]
    assert f"    from {code.package} import b\n" in text
    assert '"""See\nfrom cmir.b import words."""' in text
    assert "return 'from cmir.b'" in text
    assert f"from {code.package}.c.d import (" in code.files[f"{code.package}/b.py"]


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("from cmir.data import load_dataset", "import names from the module that defines them"),
        ("import cmir.data", "write it as `from MODULE import NAME`"),
        ("from .data import x", "write the full name of the module"),
    ],
)
def test_an_import_that_could_not_be_shipped_is_refused(
    tmp_path: Path, source: str, remedy: str
) -> None:
    root = small_project(tmp_path, entry=source, data____init__="")
    with pytest.raises(ValueError, match=rf"cmir\.entry is shipped .* has `{source}`: {remedy}\."):
        shipped_code("cmir.entry", root)
