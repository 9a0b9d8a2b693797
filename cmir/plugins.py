"""Modules of the user that add extensions, named in a sweep file by `plugins: [module]`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from cmir.config import TrialConfig
from cmir.errors import InputError
from cmir.extensions import DOORS, PACKAGE, adopt


def load_plugins(modules: Iterable[str], where: str) -> None:
    """Imports the modules, from where Python looks and from the folder that the command runs in.

    Args:
        modules: dotted names.
        where: what the message of an error starts with.

    Raises:
        InputError: one cannot be imported.
    """
    for name in modules:
        try:
            adopt(_imported(name))
        except InputError as error:
            raise InputError(f"{where}: plugins: {error}") from None
        except Exception as error:  # Whatever somebody's module does.
            raise InputError(
                f"{where}: plugins: the module '{name}' must be importable, but "
                f"{type(error).__name__}: {error}. Install it, put it into the folder that the "
                "command runs in, or mend it."
            ) from None


def plugins_of(door: str, names: Iterable[str]) -> tuple[str, ...]:
    """The modules from outside in which the extensions of these names are defined, sorted.

    Names of no extension, such as a partition by a column, need none.

    Example:
        >>> plugins_of("unimodal", ["pool", "mlp"])
        ()
    """
    modules = {DOORS[door][name].module for name in names if name in DOORS[door]}
    return tuple(sorted(one for one in modules if one.partition(".")[0] != PACKAGE))


def needed_plugins(config: TrialConfig) -> tuple[str, ...]:
    """The modules from outside without which a configuration cannot be trained."""
    environments = config.environments
    chosen = {
        "view": [environments.view],
        "partition": [environments.partition],
        "penalty": [config.loss.penalty],
        "unimodal": list(config.model.unimodal.values()),
    }
    found = {module for door, names in chosen.items() for module in plugins_of(door, names)}
    return tuple(sorted(found))


def _imported(name: str) -> object:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    return importlib.import_module(name)
