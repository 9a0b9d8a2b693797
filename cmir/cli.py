"""Kinds of arguments that several commands take."""

from __future__ import annotations

from argparse import ArgumentTypeError


def positive(text: str) -> int:
    """A whole number of at least 1.

    Raises:
        ArgumentTypeError: it is not; argparse names the option.

    Example:
        >>> positive("3")
        3
    """
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"must be a whole number, but got '{text}'") from None
    if number < 1:
        raise ArgumentTypeError(f"must be at least 1, but got {number}")
    return number
