"""The exception that means "the input is wrong", and the sentences that say so."""

from __future__ import annotations

import difflib
import errno
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

# Names that pydantic puts into the path of a fault for the forms of a dimension or an objective.
UNION_TAGS = ("list", "choice", "range", "single", "pair")


class InputError(ValueError):
    """What the user gave cannot be used.

    The message says where, what was required, what came, and what to do. Workflows print it
    without a traceback and exit with code 2.
    """


class PlaceError(InputError):
    """The place where files are kept gave way: it is full, read-only, broken, or was taken away.

    Nothing that is written there can succeed, so that it ends what runs instead of counting
    against a trial. What was kept before stays.
    """


# A full disk, a spent quota, a file system that is read-only, a device that fails or is gone, a
# network file system that went away, no file handles left.
PLACE_FAULTS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.ENODEV,
    errno.ENXIO,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.EMFILE,
    errno.ENFILE,
)
# What sqlite says of them.
SQLITE_FAULTS = ("database or disk is full", "disk I/O error", "attempt to write a readonly")


def place_fault(error: BaseException) -> str:
    """What went wrong with the place, where that is the cause of an error; else empty.

    Libraries in other languages put the system's words into texts of their own, so that those are
    read too: safetensors, polars and sqlite know no `errno`.

    Example:
        >>> place_fault(OSError(errno.ENOSPC, "No space left on device"))
        '[Errno 28] No space left on device'
        >>> place_fault(ValueError("no such word")), place_fault(FileNotFoundError("x"))
        ('', '')
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PlaceError) or _is_place_fault(cause):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return ""


def _is_place_fault(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in PLACE_FAULTS
    words = (*(os.strerror(number) for number in PLACE_FAULTS), *SQLITE_FAULTS)
    told = str(error)
    return not isinstance(error, InputError) and any(word in told for word in words)


def place_error(path: Path, error: OSError) -> PlaceError:
    """The sentence for a file that cannot be written."""
    return PlaceError(
        f"{path}: cannot be written: {error.strerror or error}. What was kept before stays: make "
        "room or mend the disk, then run the same command again."
    )


class SettingsError(ValueError):
    """Faults in the settings that an extension has of its own, below its name."""

    def __init__(self, name: str, error: ValidationError) -> None:
        super().__init__(str(error))
        self.name, self.error = name, error


def explain(error: ValidationError, where: str, known: Sequence[str]) -> str:
    """One line per fault of a validation: where, what was required, what came, what to do.

    `known` are the keys among which the nearest to an unknown one is sought.
    """
    return "\n".join(_explain_one(dict(item), where, known) for item in error.errors())


def nearest(word: str, known: Sequence[str]) -> str:
    """' Did you mean ...?' for the nearest known word, or the list of them when none is near.

    Example:
        >>> nearest("los.invariance", ["loss.invariance", "name"])
        " Did you mean 'loss.invariance'?"
    """
    return did_you_mean(word, known) or f" Known: {', '.join(known)}."


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """' Did you mean ...?' for the nearest known word, nothing when none is near."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def hint_for(value: Any) -> str:
    """A hint for a number that YAML read as text, such as `1e-5`; else an empty string."""
    if not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    mantissa, _, exponent = repr(number).partition("e")
    point = "" if "." in mantissa else ".0"
    better = f"{mantissa}{point}e{int(exponent):+}" if exponent else mantissa
    if value.lstrip("+-").isdigit() or value == better:
        return f" Write it without quotes: {value}."
    return f" YAML reads {value} as text: write {better}."


def _explain_one(
    item: Mapping[str, Any], where: str, known: Sequence[str], above: Sequence[str] = ()
) -> str:
    parts = [*above, *(str(part) for part in item["loc"] if part not in UNION_TAGS)]
    key = ".".join(parts)
    place = f"{where}: {key}" if key else where
    came = item.get("input")
    if item["type"] == "extra_forbidden":
        word = key if key.split(".")[0] in {name.split(".")[0] for name in known} else parts[-1]
        if isinstance(came, Mapping) and came:
            word = f"{word}.{next(iter(came))}"
        best = word if difflib.get_close_matches(word, known, n=1) else parts[-1]
        return f"{place} is not a known key.{nearest(best, known)}"
    if item["type"] == "missing":
        return f"{place} is required, but it is missing."
    if item["type"] == "value_error":
        fault = item["ctx"]["error"]
        if isinstance(fault, SettingsError):
            below = [*parts, fault.name]
            faults = fault.error.errors()
            return "\n".join(_explain_one(dict(one), where, known, below) for one in faults)
        return f"{place}: {item['ctx']['error']}."
    return f"{place} {_requirement(item)}, but got {_shown(came)}.{_hint(item)}"


def _hint(item: Mapping[str, Any]) -> str:
    """The nearest of the names that would do, or how to write a number that is a text."""
    names, came = item.get("ctx", {}).get("known", ()), item.get("input")
    return did_you_mean(str(came), names) or hint_for(came)


def _requirement(item: Mapping[str, Any]) -> str:
    """Pydantic's sentence, in this project's form."""
    message = str(item["msg"]).replace("Input should be", "must be").replace("a valid ", "a ")
    message = message.replace("Tuple should", "must").replace("List should", "must")
    message = message.replace(" after validation", "")
    return message.replace("a integer", "a whole number").replace("a string", "a text")


def _shown(value: Any) -> str:
    return f"the text '{value}'" if isinstance(value, str) else f"{value!r}"
