"""The command that follows the paper's protocol."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cmir.commands.reproduce_paper_command import main
from tests.support.small_protocol import FOLDER


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(FOLDER, tmp_path / "search_spaces" / "paper")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


def test_without_any_data_all_six_rows_are_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--all"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("not reproduced: data not available") == 6
    assert printed.count("there is no data at data/paper/") == 6
    assert not (folder / "mlruns").exists()


def test_one_data_set_without_its_data_ends_with_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--space", "search_spaces/paper/mosi.yaml"]) == 2
    printed = capsys.readouterr().out
    assert "search_spaces/paper/mosi.yaml says how to make it" in printed
    assert "49.8" in printed


def test_a_script_gets_one_object_and_errors_elsewhere(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["data_sets"]
    assert [one["found"] for one in found] == [None] * 6
    assert main(["--space", "search_spaces/paper/mosi.yaml", "--quiet"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, "there is no data at" in shown.err) == ("", True)


def test_a_space_that_is_none_of_the_papers_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "search_spaces" / "paper" / "mosi.yaml"
    file.write_text(file.read_text().replace("name: paper_mosi", "name: mine"))
    assert main(["--space", str(file)]) == 2
    assert "'mine': the paper reports on" in capsys.readouterr().err


@pytest.mark.slow
def test_the_protocol_runs_on_a_stand_in_and_its_table_can_be_printed_again(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    words = ["--space", "search_spaces/paper/mustard.yaml", "--stand-in", "--concurrency", "2"]
    words += ["--trials", "2", "--epochs", "2", "--retrain", "2"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert "SYNTHETIC STAND-IN, mean ± sd of 2 seeds" in first
    assert "test-set access no. 1;" in first
    assert main(words) == 0
    again = capsys.readouterr().out
    assert "2 are done" in again
    assert again[again.index("┏") :] == first[first.index("┏") :]
