"""YAML files as plain values; whatever the library falls over is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cmir.errors import InputError


def read_yaml(path: Path, what: str) -> Any:
    """The content of a file.

    Args:
        path: of the file.
        what: to do where there is none, a sentence.

    Raises:
        InputError: it is missing, cannot be read, or is no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file. {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}.") from None
    # PyYAML lets dates, characters and numbers out of range, and deep nesting, pass as they come.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError) as error:
        raise InputError(f"{path}: is not valid YAML: {error}") from None
