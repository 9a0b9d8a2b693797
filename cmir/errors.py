"""The one exception type that means "the input is wrong": commands turn it into exit code 2."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used.

    The message says where, what was required, what came, and what to do. Workflows print it
    without a traceback and exit with code 2.
    """
