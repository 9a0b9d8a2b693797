"""What all commands share: kinds of arguments, and how an error is shown."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError

from cmir.errors import InputError


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


def print_error(error: InputError) -> None:
    """Shows what is wrong with the input; its lines stay whole at any width of the terminal."""
    print(f"error: {error}", file=sys.stderr)
