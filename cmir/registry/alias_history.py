"""Who was champion, when and why: every move of an alias is a tag of the registered model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from mlflow import MlflowClient, MlflowException

from cmir.errors import InputError

PREFIX = "history."
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
Kind = Literal["promoted", "rolled back"]


class OvertakenError(Exception):
    """The alias moved after the gates had looked at its holder."""

    def __init__(self, alias: str, expected: str, found: str) -> None:
        """Versions by number, empty where nobody held the alias."""
        super().__init__(
            f"{alias} is {_named(found)}, but was {_named(expected)} when the gates were passed"
        )
        self.expected, self.found = _named(expected), _named(found)
        # Of the version that was registered before the alias was seen to have moved.
        self.version: str | None = None


@dataclass(frozen=True)
class Move:
    """One move of an alias.

    Attributes:
        alias: that moved.
        version: that holds it since.
        before: that held it until then, empty where nobody did.
        when: time in UTC.
        kind: of move.
        why: the reason in words.
    """

    alias: str
    version: str
    before: str
    when: str
    kind: Kind
    why: str


def moves(client: MlflowClient, name: str) -> list[Move]:
    """All moves of the aliases of a registered model, the first one first."""
    tags = client.get_registered_model(name).tags
    keys = sorted(key for key in tags if key.startswith(PREFIX))
    return [Move(**json.loads(tags[key])) for key in keys]


def holder(client: MlflowClient, name: str, alias: str) -> str:
    """The version that holds an alias, empty where there is none yet."""
    try:
        return str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in MISSING:
            return ""
        raise


def move_alias(
    client: MlflowClient,
    name: str,
    alias: str,
    version: str,
    *,
    kind: Kind,
    why: str,
    expected: str | None = None,
) -> Move:
    """Moves an alias and writes the move down.

    Args:
        client: of the registry.
        name: of the registered model.
        alias: to move.
        version: that gets it.
        kind: of move.
        why: the reason in words.
        expected: who must hold it now, empty for nobody; None: whoever does.

    Raises:
        OvertakenError: another version holds it; nothing was moved.
    """
    before = check_holder(client, name, alias, expected)
    client.set_registered_model_alias(name, alias, version)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    move = Move(alias, version, before, now, kind, why)
    number = len(moves(client, name)) + 1
    client.set_registered_model_tag(name, f"{PREFIX}{number:05d}", json.dumps(asdict(move)))
    return move


def check_holder(client: MlflowClient, name: str, alias: str, expected: str | None) -> str:
    """The version that holds an alias.

    Raises:
        OvertakenError: it is not the expected one.
    """
    found = holder(client, name, alias)
    if expected is not None and found != expected:
        raise OvertakenError(alias, expected, found)
    return found


def roll_back(client: MlflowClient, name: str, alias: str, why: str) -> Move:
    """Gives an alias back to the version that held it before the present one was promoted.

    Raises:
        InputError: nobody holds the alias, no version before is known, or it was deleted.
    """
    current = holder(client, name, alias)
    if not current:
        raise InputError(
            f"{name}: no version holds the alias '{alias}', so there is none to take back."
        )
    before = _held_before(moves(client, name), alias, current)
    if not before:
        raise InputError(
            f"{name}: version {current} is the first that is known to hold '{alias}': there is no "
            "version before it. `promote.py --list` shows the history."
        )
    if before not in {str(v.version) for v in client.search_model_versions(f"name='{name}'")}:
        raise InputError(f"{name}: version {before}, which held '{alias}' before, was deleted.")
    move = move_alias(client, name, alias, before, kind="rolled back", why=why, expected=current)
    client.set_model_version_tag(name, current, "rolled_back", f"{move.when}: {why}")
    return move


def _held_before(known: list[Move], alias: str, version: str) -> str:
    """Whom the latest promotion of a version displaced; a rollback displaces nobody."""
    promoted = [m for m in known if m.alias == alias and m.kind == "promoted"]
    return next((m.before for m in reversed(promoted) if m.version == version), "")


def _named(version: str) -> str:
    return f"version {version}" if version else "nobody"
