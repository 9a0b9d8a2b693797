"""What all commands share: kinds of arguments, and how an error is shown."""

from __future__ import annotations

import json
import math
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from cmir.errors import InputError
from cmir.hidden_secrets import without_secrets


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


def cluster_address(text: str | None) -> str | None:
    """The address of a Ray cluster; None where that means this machine.

    Example:
        >>> cluster_address("head:6379"), cluster_address("local"), cluster_address("")
        ('head:6379', None, None)
    """
    return None if text in ("", "local") else text


def add_placement(parser: ArgumentParser, what: str) -> None:
    """The options that say where something runs: on this machine or a cluster, how many at a time.

    Args:
        parser: gets `--concurrency`, `--trials-per-gpu` and `--address`.
        what: runs, in the plural.
    """
    parser.add_argument(
        "--concurrency",
        type=positive,
        help=f"{what} at a time (default: one per processor, or --trials-per-gpu per GPU)",
    )
    parser.add_argument(
        "--trials-per-gpu", type=positive, default=4, help=f"{what} that share a GPU (default: 4)"
    )
    parser.add_argument(
        "--address",
        type=cluster_address,
        default=cluster_address(os.environ.get("RAY_ADDRESS")),
        help="address of a Ray cluster, host:port (default: RAY_ADDRESS, else this machine)",
    )


def add_loudness(parser: ArgumentParser) -> None:
    """The options for scripts: `--quiet` and `--json`."""
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_true", help="print nothing but errors")
    shown.add_argument(
        "--json", action="store_true", help="print nothing but errors and, at the end, one object"
    )


def console_of(given: Namespace, width: int | None = None) -> Console:
    """The terminal, silent where a script asked for that; where there is none, so wide."""
    is_quiet = given.quiet or given.json
    console = Console(quiet=is_quiet)
    is_wide = width is None or console.is_terminal or "COLUMNS" in os.environ
    return console if is_wide else Console(width=width, quiet=is_quiet)


def print_object(found: Mapping[str, Any]) -> None:
    """One object of JSON on one line; a value that is not a number becomes null."""
    print(json.dumps(_plain(found), default=str))


def _plain(value: Any) -> Any:
    """Plain JSON, which knows neither infinities nor NaN.

    Example:
        >>> _plain({"a": (1.5, float("nan"))})
        {'a': [1.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def same_decimals(values: Sequence[object], decimals: int = 4) -> list[str]:
    """The cells of a column: all its fractions with so many decimals.

    Example:
        >>> same_decimals([0.71, 1.2, None]), same_decimals([13.8, 4.0], 1), same_decimals([3])
        (['0.7100', '1.2000', ''], ['13.8', '4.0'], ['3'])
    """

    def cell(value: object) -> str:
        if isinstance(value, float):
            return f"{value:.{decimals}f}"
        return "" if value is None else str(value)

    return [cell(value) for value in values]


def add_test_set(parser: ArgumentParser, what: str) -> None:
    """The options `--test-set` and `--why`; see `reason_of`. `what` is what the access is for."""
    parser.add_argument("--test-set", action="store_true", help=f"{what} (default: none)")
    why = "reason of the test-set access, which needs one (default: none)"
    parser.add_argument("--why", default="", help=why)


def reason_of(given: Namespace) -> str:
    """The reason of a test-set access; empty where none is wanted; InputError where it lacks."""
    if given.test_set and not given.why:
        raise InputError("--test-set needs a reason, which the ledger keeps: add --why TEXT.")
    return str(given.why)


def add_artifacts(parser: ArgumentParser) -> None:
    """The option `--artifacts`: where a driver that goes on elsewhere finds weights."""
    parser.add_argument(
        "--artifacts",
        help="URL or shared folder where the best weights are kept as well, for a command that "
        "goes on elsewhere (default: none)",
    )


def print_error(error: InputError) -> None:
    """Shows what is wrong with the input; its lines stay whole at any width of the terminal."""
    print(f"error: {without_secrets(str(error))}", file=sys.stderr)
