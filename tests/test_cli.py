from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from cmir.cli import positive


@pytest.mark.parametrize(
    ("text", "message"), [("0", "at least 1, but got 0"), ("two", "whole number, but got 'two'")]
)
def test_what_is_no_positive_number_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        positive(text)
