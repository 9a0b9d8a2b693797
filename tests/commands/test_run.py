"""The command `cmir`: what it lists, what it refuses, and that each name has its module."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from cmir.commands.init_command import main as init
from cmir.commands.run import COMMANDS, usage
from cmir.space.shipped_spaces import shipped_folder, shipped_spaces, space_path
from cmir.space.space_file import read_sweep_file

ROOT = Path(__file__).resolve().parents[2]


def cmir(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from cmir.commands.run import main; main()", *words],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_command_has_a_module_a_line_and_a_script() -> None:
    for name in COMMANDS:
        assert callable(importlib.import_module(f"cmir.commands.{name}_command").main)
        assert f"  {name} " in usage()
        assert name == "init" or (ROOT / "workflows" / f"{name}.py").is_file()
    scripts = {path.stem for path in (ROOT / "workflows").glob("*.py")}
    assert scripts == set(COMMANDS) - {"init"}


def test_without_a_command_all_are_listed_and_a_wrong_one_is_refused() -> None:
    assert cmir().stdout == cmir("--help").stdout == f"{usage()}\n"
    wrong = cmir("sweeep")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "there is no command 'sweeep'. Did you mean 'sweep'" in wrong.stderr


def test_a_command_is_called_by_its_own_name(tmp_path: Path) -> None:
    shown = cmir("init", "--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert shown.stdout.startswith("usage: cmir init")
    listed = cmir("init", cwd=tmp_path)
    assert {"mosi", "mosei", "paper/mosi"} <= set(listed.stdout.split())
    faulty = cmir("reproduce-paper", "--space", "nothing.yaml", cwd=tmp_path)
    assert faulty.returncode == 2
    assert "Traceback" not in faulty.stderr


def test_a_command_that_imports_for_seconds_says_at_once_what_it_is(tmp_path: Path) -> None:
    told = cmir("sweep", "--space", "nothing.yaml", cwd=tmp_path)
    assert told.stdout.startswith("cmir-sweep ")
    assert told.stdout.splitlines()[0].endswith(": run or continue a sweep")
    quiet = cmir("sweep", "--space", "nothing.yaml", "--json", cwd=tmp_path)
    assert (quiet.returncode, quiet.stdout) == (2, "")
    assert "nothing.yaml" in quiet.stderr


def test_a_shipped_space_is_found_by_its_name_and_a_file_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in shipped_spaces():
        assert space_path(Path(name)) == shipped_folder() / f"{name}.yaml"
    assert space_path(Path("nothing")) == Path("nothing")
    assert space_path(Path("mosi.yaml")) == Path("mosi.yaml")
    Path("mosi").write_text("name: mine")
    assert space_path(Path("mosi")) == Path("mosi")


def test_init_copies_a_space_that_can_be_read_and_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init(["paper/mosi"]) == 0
    assert read_sweep_file(Path("mosi.yaml")).name == "paper_mosi"
    assert "$schema=schema.json" in Path("mosi.yaml").read_text()
    assert Path("schema.json").is_file()
    assert init(["paper/mosi"]) == 2
    assert "mosi.yaml: is there already" in capsys.readouterr().err
    assert init(["mosy"]) == 2
    assert "Did you mean 'mosi'" in capsys.readouterr().err
