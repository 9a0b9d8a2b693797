"""The help of every command: each option says what it is and what holds without it."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

import pytest

COMMANDS = [
    *("ablate", "embed", "init", "predict", "prepare"),
    *("promote", "reproduce", "reproduce_paper", "rivals", "sweep"),
]


class ParsedError(Exception):
    """Carries the parser out of a command, before it parses."""


def options_of(command: str, monkeypatch: pytest.MonkeyPatch) -> list[argparse.Action]:
    def stop(self: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> None:
        raise ParsedError(self)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(ParsedError) as parsed:
        importlib.import_module(f"cmir.commands.{command}_command").main([])
    parser: argparse.ArgumentParser = parsed.value.args[0]
    chosen = {id(a) for group in parser._mutually_exclusive_groups for a in group._group_actions}
    return [
        action
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction) and id(action) not in chosen
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_is(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [action.help or "" for action in options_of(command, monkeypatch)]
    tails = ("of ", "that ", "in place", "default", "whose ", "from ")
    assert [text for text in texts if not text or text.startswith(tails)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_with_a_value_says_its_default(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [
        action.option_strings
        for action in options_of(command, monkeypatch)
        if action.option_strings
        and not action.required
        and action.nargs != 0
        and "default" not in (action.help or "").lower()
    ]
    assert silent == []
