"""Modules from outside: imported by name, refused in one sentence, remembered by what they add."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cmir.commands.prepare_command import main as prepare
from cmir.commands.sweep_command import main as sweep
from cmir.errors import InputError
from cmir.extensions import VIEWS, adopt
from cmir.plugins import load_plugins, plugins_of
from cmir.space.space_file import parse_sweep
from tests.support.small_sweep import SMALL, write_data, write_space
from tests.support.worked_examples import PLUGIN, plugins_in, write_plugin


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with plugins_in(tmp_path):
        yield tmp_path


def test_a_plugin_is_found_in_the_folder_that_the_command_runs_in(folder: Path) -> None:
    write_plugin(folder)
    load_plugins([PLUGIN], "s.yaml")
    assert "mask" in VIEWS
    load_plugins([PLUGIN], "s.yaml")


def test_an_extension_says_which_plugin_it_needs(folder: Path) -> None:
    write_plugin(folder)
    load_plugins([PLUGIN], "s.yaml")
    assert plugins_of("unimodal", ["pool", "last_steps"]) == (PLUGIN,)
    assert plugins_of("partition", ["none", "speaker", "random"]) == ()


def test_other_doors_take_over_what_a_module_says_of_its_functions(folder: Path) -> None:
    write_plugin(folder)
    load_plugins([PLUGIN], "s.yaml")
    entry = VIEWS._found.pop("mask")
    adopt(__import__(PLUGIN))
    assert VIEWS["mask"] is entry


BROKEN = [
    (None, r"the module 'broken' must be importable, but ModuleNotFoundError: No module named"),
    ("1 / 0", r"ZeroDivisionError: division by zero\. Install it, put it into the folder"),
    ("def f(:", r"must be importable, but SyntaxError"),
    (
        "from cmir.extensions import view\n@view('swap')\ndef swap(): ...",
        r"broken: there is a view 'swap' already, .* Choose another name",
    ),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_a_plugin_that_cannot_be_imported_is_one_sentence(
    folder: Path, text: str | None, message: str
) -> None:
    if text is not None:
        write_plugin(folder, "broken", text)
    with pytest.raises(InputError, match=f"^s.yaml: plugins: .*{message}"):
        parse_sweep(SMALL | {"plugins": ["broken"]}, "s.yaml")


def test_the_commands_end_with_code_2_for_such_a_plugin(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(folder / "data" / "small")
    space = write_space(folder, plugins=["nowhere"])
    assert sweep(["--space", str(space)]) == 2
    assert "plugins: the module 'nowhere' must be importable" in capsys.readouterr().err
    assert prepare(["npz", "a.npz", "out", "--plugin", "nowhere"]) == 2
    assert "--plugin: plugins: the module 'nowhere'" in capsys.readouterr().err


@pytest.mark.parametrize("plugins", ["my_extensions", ["a/b.py"], [3]])
def test_what_is_no_name_of_a_module_is_refused(folder: Path, plugins: object) -> None:
    with pytest.raises(InputError, match=r"s\.yaml: plugins"):
        parse_sweep(SMALL | {"plugins": plugins}, "s.yaml")


def test_plugins_are_part_of_the_question_and_without_any_it_is_what_it_was(folder: Path) -> None:
    write_plugin(folder)
    without = parse_sweep(SMALL, "s.yaml")
    assert "plugins" not in without.question
    assert parse_sweep(SMALL | {"plugins": []}, "s.yaml").fingerprint == without.fingerprint
    assert parse_sweep(SMALL | {"plugins": [PLUGIN]}, "s.yaml").question["plugins"] == [PLUGIN]
