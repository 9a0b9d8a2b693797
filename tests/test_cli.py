from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError

import pytest

from cmir.cli import add_placement, positive, print_error
from cmir.errors import InputError


@pytest.mark.parametrize(
    ("text", "message"), [("0", "at least 1, but got 0"), ("two", "whole number, but got 'two'")]
)
def test_what_is_no_positive_number_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        positive(text)


def test_an_error_stays_on_one_line_in_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    message = "objective must be one of " + "ood_val/mae, " * 20
    print_error(InputError(message))
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize(
    ("words", "known", "expected"),
    [
        ((), None, None),
        ((), "head:6379", "head:6379"),
        (("--address", "other:6379"), "head:6379", "other:6379"),
        (("--address", "local"), "head:6379", None),
        ((), "", None),
    ],
)
def test_the_cluster_is_the_one_given_else_that_of_ray_address(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], known: str | None, expected: str | None
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if known is not None:
        monkeypatch.setenv("RAY_ADDRESS", known)
    parser = ArgumentParser()
    add_placement(parser, "trials")
    assert parser.parse_args(words).address == expected
