"""A tracking server that goes away while a model is registered: one sentence, and once more."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from requests.exceptions import ConnectionError as ServerGoneError

from cmir.commands.promote_command import main
from tests.support.small_promotion import OPEN_GATES, finished_sweep, open_store

WORDS = ("--seeds", "2", "--top", "1")


def test_the_command_says_what_to_do_and_works_when_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    client = open_store(tmp_path, monkeypatch)
    finished_sweep(tmp_path, gates=OPEN_GATES)

    def gone(*arguments: object, **named: object) -> None:
        raise ServerGoneError("Max retries exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_model_version", gone)
        patch.setattr(MlflowClient, "set_terminated", gone)
        assert main(WORDS) == 2
    told = capsys.readouterr().err
    assert "answers no longer: ConnectionError: Max retries exceeded" in told
    assert "run the same command again" in told
    assert "Traceback" not in told
    assert client.search_model_versions("name = 'cmir-small'") == []
    assert main(WORDS) == 0
    assert "registered cmir-small version 1" in capsys.readouterr().out
