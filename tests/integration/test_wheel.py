"""The wheel in an environment of its own: the command, the pages' templates, the sweep files."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.integration.test_version_without_project import outside as outside

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def said(*words: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        words,
        cwd=cwd,
        env={"PATH": os.environ.get("PATH", ""), "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_brings_the_command_and_all_that_is_read(tmp_path: Path, outside: Path) -> None:
    source = tmp_path / "source"
    said("git", "clone", "--quiet", str(ROOT), str(source), cwd=tmp_path, HOME=str(tmp_path))
    pip = (sys.executable, "-m", "pip")
    said(*pip, "wheel", "--no-deps", "--no-build-isolation", "-q", ".", cwd=source)
    (wheel,) = source.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "cmir").rglob("*.md.j2")}
    assert templates <= names
    assert {"cmir/py.typed", "cmir/shipped_spaces/mosi.yaml"} <= names
    assert not [name for name in names if name.startswith(("tests/", "workflows/"))]
    python = str(outside)
    target = tmp_path / "installed"
    said(*pip, "install", "--no-deps", "-q", "--target", str(target), str(wheel), cwd=tmp_path)
    script = "from cmir.commands.run import main; main()"
    path = {"PYTHONPATH": str(target)}
    listed = said(python, "-c", script, "init", cwd=tmp_path, **path)
    assert {"mosi", "paper/mosi"} <= set(listed.split())
    shown = said(python, "-c", script, "sweep", "--help", cwd=tmp_path, **path)
    assert "usage: cmir sweep" in shown
    assert (target / "bin" / "cmir").is_file()
