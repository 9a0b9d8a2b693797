"""The rooms: imports go one way, outside libraries stay in theirs, names and folders stay clear."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project_files import project_files

ROOT = Path(__file__).resolve().parent.parent

# Each room may import those before it; modules directly in cmir/ lie below them all.
ROOMS = (
    "cmir",
    "cmir.process",
    "cmir.metrics",
    "cmir.data",
    "cmir.method",
    "cmir.evaluation",
    "cmir.serving",
    "cmir.space",
    "cmir.runner",
    "cmir.registry",
    "cmir.sweep",
    "cmir.promotion",
    "cmir.paper",
    "cmir.ablation",
    "cmir.rivals",
    "cmir.commands",
    "workflows",
)

# Library -> the modules that may import it, as prefixes of dotted names.
ALLOWED_IMPORTERS = {
    "jinja2": ("cmir.pages",),
    "mlflow": (
        "cmir.runner.tracking.",
        "cmir.serving.",
        "cmir.registry.",
        "cmir.promotion.",
        "cmir.paper.",
        "cmir.ablation.",
        "cmir.rivals.",
    ),
    "optuna": ("cmir.space.", "cmir.runner.", "cmir.sweep.", "cmir.ablation."),
    "ray": ("cmir.runner.", "cmir.sweep."),
    "rich": ("cmir.cli", "cmir.runner.display", "cmir.commands."),
    "huggingface_hub": ("cmir.method.language.pretrained.backbones",),
    "tokenizers": (),
    "transformers": ("cmir.method.language.pretrained.backbones",),
}

LONGEST_FILE = 400
FULLEST_FOLDER = 13


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    for room in reversed(ROOMS):
        if module == room or module.startswith(f"{room}."):
            return room
    return None


def imported_modules(path: Path, source: str) -> Iterator[str]:
    """Every dotted name that the file imports anywhere in it, relative ones resolved."""
    package = path.parent.parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            # `from cmir import sweep` names the room only in what is imported.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def import_violations(path: Path, source: str) -> list[str]:
    """What the file imports against the rules; `path` is relative to the repository's root."""
    importer = module_name(path)
    own_room = room_of(importer)
    assert own_room is not None, f"{path} lies in no room"
    found = []
    for imported in imported_modules(path, source):
        room = room_of(imported)
        if room is not None and ROOMS.index(room) > ROOMS.index(own_room):
            found.append(f"{path} imports {imported}")
        importers = ALLOWED_IMPORTERS.get(imported.split(".")[0])
        # A package's own `__init__` counts as inside it, hence the closing dot.
        if importers is not None and not f"{importer}.".startswith(importers):
            found.append(f"{path} imports {imported}")
    return found


def source_files() -> list[Path]:
    return [
        path.relative_to(ROOT)
        for folder in ("cmir", "workflows")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def test_imports_go_one_way_and_outside_libraries_stay_in_their_room() -> None:
    found = [
        line
        for path in source_files()
        for line in import_violations(path, (ROOT / path).read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cmir/data/dataset.py", "import cmir.method.losses"),
        ("cmir/data/dataset.py", "from ..method import losses"),
        ("cmir/method/networks/model.py", "from cmir import sweep"),
        (
            "cmir/method/networks/model.py",
            "def later():\n    from cmir.promotion.gates import Gate",
        ),
        ("cmir/method/training/fitting.py", "from cmir.evaluation import reliability"),
        ("cmir/runner/scheduling/worker.py", "from workflows.sweep import main"),
        ("cmir/runner/studies/study.py", "from cmir.sweep import run_sweep"),
        ("cmir/config.py", "from cmir.data import load_dataset"),
        ("cmir/method/training/fitting.py", "import optuna"),
        ("cmir/data/__init__.py", "from ray import tune"),
        ("cmir/serving/predictor.py", "import optuna"),
        ("cmir/serving/predictor.py", "from cmir.runner import study"),
        ("cmir/runner/studies/study.py", "import mlflow"),
        ("cmir/promotion/selection.py", "import optuna.trial"),
        ("cmir/promotion/gates.py", "from cmir.ablation import arms"),
        ("cmir/ablation/run_ablation.py", "import ray"),
        ("cmir/commands/sweep_command.py", "import mlflow"),
        ("cmir/runner/studies/study.py", "import rich.console"),
        ("cmir/method/language/embedding.py", "from transformers import AutoModel"),
    ],
)
def test_a_planted_wrong_import_is_found(path: str, source: str) -> None:
    assert len(import_violations(Path(path), source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cmir/method/training/fitting.py", "from cmir.data import load_dataset\nfrom . import x"),
        ("cmir/sweep/__init__.py", "import ray\nimport optuna"),
        ("cmir/runner/tracking/store.py", "from mlflow import MlflowClient"),
        ("cmir/registry/model_registry.py", "import mlflow\nfrom ..runner import study"),
        ("cmir/commands/promote_command.py", "from cmir.registry import recipe\nimport rich"),
        ("cmir/data/dataset.py", "from cmir.errors import InputError"),
    ],
)
def test_an_import_in_the_right_direction_is_not(path: str, source: str) -> None:
    assert import_violations(Path(path), source) == []


def test_no_file_name_stands_twice_in_the_tree() -> None:
    names = Counter(path.name for path in source_files() if path.name != "__init__.py")
    assert [name for name, times in names.items() if times > 1] == []


def test_no_folder_grows_into_a_heap() -> None:
    found = Counter(path.parent for path in source_files() if path.name != "__init__.py")
    assert {folder: files for folder, files in found.items() if files > FULLEST_FOLDER} == {}


@pytest.mark.parametrize("path", source_files(), ids=str)
def test_a_source_file_says_one_thing_in_at_most_400_lines(path: Path) -> None:
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("room", ["cmir.metrics", "cmir.data", "cmir.method", "cmir.evaluation"])
def test_importing_a_room_of_the_learner_loads_no_sweep_library_and_no_language_models(
    room: str,
) -> None:
    modules = [module_name(path) for path in source_files()]
    inside = [name for name in modules if name == room or name.startswith(f"{room}.")]
    program = (
        f"import importlib, sys\nfor name in {inside!r}: importlib.import_module(name)\n"
        "print(sorted({'ray', 'optuna', 'mlflow', 'transformers', 'huggingface_hub'}"
        " & set(sys.modules)))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "[]"


def test_no_project_file_names_a_path_of_one_machine() -> None:
    machine_path = re.compile(rb"/(?:work|root|home|Users)/[\w.-]")
    found = [
        f"{name}: {match.group().decode()}"
        for name in project_files()
        for match in machine_path.finditer((ROOT / name).read_bytes())
    ]
    assert found == []
