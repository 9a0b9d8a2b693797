"""A registered version in environments that this project is not part of, or is another one in.

The second environment is a real one, made with `venv`, that finds the libraries installed beside
the project through a `.pth` file: Python does not follow the `.pth` files of a folder named in one,
so that the project's own, editable installation is out of reach. Installing the recorded
requirements instead gives the same, but takes minutes and an index of packages.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest

from cmir.registry.shipped_code import ROOT
from cmir.registry.versions import version
from tests.support.small_promotion import open_store
from tests.support.small_version import (
    ERASING_VISION,
    NAME,
    register_version,
    request_of,
    small_development,
)

pytestmark = pytest.mark.slow

PREDICT = """
import json, sys
import mlflow
model = mlflow.pyfunc.load_model("models:/cmir-test@champion")
request = json.load(open("request.json"))
table = model.predict(request, params={"distances": True})
try:
    model.predict({"text": request["text"]})
except ValueError as refused:
    print(refused, file=sys.stderr)
print(table.to_json(double_precision=15))
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
WITHOUT_THE_PROJECT = """
import importlib.util
assert importlib.util.find_spec("cmir") is None, "the project is within reach"
"""


@dataclass(frozen=True)
class Answer:
    """What a process says that loaded the version and predicted."""

    columns: dict[str, list[float]]
    modules: set[str]
    said: str


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder with a version and a request, and what the project itself predicts."""
    folder = tmp_path_factory.mktemp("registered")
    with pytest.MonkeyPatch.context() as patch:
        client = open_store(folder, patch)
        data = small_development(folder / "data")
        ensemble = register_version(client, data, **ERASING_VISION)
        assert version(client, NAME, "champion").number == "1"
    request = request_of(data, slice(0, 6))
    lists = {name: value.tolist() for name, value in request.items()}
    (folder / "request.json").write_text(json.dumps(lists))
    return folder, ensemble.predict(request, distances=True)


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the project's libraries, but without the project."""
    place = tmp_path_factory.mktemp("outside") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (own,) = place.glob("lib/python*/site-packages")
    (own / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return place / "bin" / "python"


def answer(python: Path | str, folder: Path, program: str, *path: Path) -> Answer:
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(map(str, path)),
    }
    done = subprocess.run(
        [str(python), "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table, modules = done.stdout.splitlines()[-2:]
    columns = {name: list(cells.values()) for name, cells in json.loads(table).items()}
    return Answer(columns, set(json.loads(modules)), done.stderr)


def assert_equal(found: Answer, wanted: dict[str, np.ndarray]) -> None:
    assert found.columns.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(found.columns[name], values, rtol=1e-6)


def required(folder: Path) -> set[str]:
    """Distributions that the version's requirements install, with all that these require here."""
    (file,) = folder.glob("mlruns/*/models/*/artifacts/requirements.txt")
    waiting = [line.partition("==")[0] for line in file.read_text().splitlines()]
    installed = {plain(one.metadata["Name"]): one.requires or [] for one in distributions()}
    found: set[str] = set()
    while waiting:
        name = plain(waiting.pop())
        if name in installed and name not in found:
            found.add(name)
            needs = [need for need in installed[name] if "extra ==" not in need]
            waiting += [re.split(r"[^\w.-]", need, maxsplit=1)[0] for need in needs]
    return found


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_it_predicts_the_same_where_the_project_is_not_installed(
    expected: tuple[Path, dict[str, np.ndarray]], outside: Path
) -> None:
    folder, wanted = expected
    found = answer(outside, folder, WITHOUT_THE_PROJECT + PREDICT)
    assert_equal(found, wanted)
    assert "audio: is required" in found.said
    assert "cmir" not in found.modules
    # Nor does it use what the project needs beside; polars MLflow imports where it finds it.
    beside = {"ray", "optuna", "transformers", "rich"}
    assert not beside & found.modules
    assert not (beside | {"polars"}) & required(folder)
    assert {"mlflow", "numpy", "pandas", "pydantic", "safetensors", "torch"} <= required(folder)


def test_it_predicts_the_same_beside_a_newer_cmir_with_other_modules(
    expected: tuple[Path, dict[str, np.ndarray]], outside: Path, tmp_path: Path
) -> None:
    folder, wanted = expected
    for name in ("__init__", "errors", "serving/__init__", "serving/voting"):
        path = tmp_path / "cmir" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("__version__ = '9.0'\n")
    newer = "import cmir, cmir.errors, cmir.serving.voting\nassert cmir.__version__ == '9.0'\n"
    found = answer(outside, folder, newer + PREDICT, tmp_path)
    assert_equal(found, wanted)
    assert "cmir" in found.modules


def test_it_predicts_the_same_after_every_module_that_it_was_made_of_was_renamed(
    expected: tuple[Path, dict[str, np.ndarray]], outside: Path, tmp_path: Path
) -> None:
    folder, wanted = expected
    renamed_project(tmp_path)
    used = "import cmir.serving.predictor_renamed, cmir.method.networks.model_renamed\n"
    found = answer(outside, folder, used + PREDICT, tmp_path)
    assert_equal(found, wanted)
    assert {"cmir", "polars"} <= found.modules


def renamed_project(folder: Path) -> None:
    """A copy of the project that works, in which the modules that versions ship are renamed."""
    copy = folder / "cmir"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    moved = [*copy.glob("serving/*.py"), *copy.glob("method/networks/*.py"), copy / "config.py"]
    names = {path.stem for path in moved} - {"__init__"}
    for path in moved:
        if path.stem in names:
            path.rename(path.with_stem(f"{path.stem}_renamed"))
    places = re.compile(
        rf"\b((?:cmir\.)?(?:serving\.|method\.networks\.)(?:{'|'.join(names)})|cmir\.config)\b"
    )
    for path in copy.rglob("*.py"):
        path.write_text(places.sub(r"\1_renamed", path.read_text()))


def test_a_version_loaded_twice_and_the_project_itself_live_in_one_process(
    expected: tuple[Path, dict[str, np.ndarray]],
) -> None:
    folder, wanted = expected
    twice = (
        "import mlflow, cmir.serving.predictor\n"
        "one = mlflow.pyfunc.load_model('models:/cmir-test/1')\n"
    )
    assert_equal(answer(sys.executable, folder, twice + PREDICT, ROOT.parent), wanted)
