"""A sweep: prepared, run, its findings published; never sees held-out data."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """This package is called as well, as `cmir.sweep(space=...)`: see `cmir.commands.from_python`.

    Found by name when it is called: the package itself stands below the commands.
    """

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return importlib.import_module("cmir.commands.from_python").sweep(*arguments, **named)


sys.modules[__name__].__class__ = _Callable
