"""The sweep files that ship with the project, found by name where no file of that name is."""

from __future__ import annotations

from pathlib import Path

import cmir
from cmir.errors import InputError, nearest

# Beside the package in a checkout, inside it where it was installed.
PLACES = (
    Path(cmir.__file__).parents[1] / "search_spaces",
    Path(cmir.__file__).parent / "shipped_spaces",
)


def shipped_folder() -> Path:
    """The folder of the shipped sweep files.

    Raises:
        InputError: the installation lacks them.
    """
    found = next((place for place in PLACES if place.is_dir()), None)
    if found is None:
        raise InputError(f"the installation of cmir-sweep lacks its sweep files: {PLACES[1]}.")
    return found


def shipped_spaces() -> list[str]:
    """Their names, those of the paper's protocol as `paper/mosi`."""
    folder = shipped_folder()
    return sorted(
        file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml")
    )


def shipped_space(name: str) -> Path:
    """The file of a name.

    Raises:
        InputError: there is none.
    """
    known = shipped_spaces()
    if name not in known:
        raise InputError(f"'{name}' is no sweep file that ships.{nearest(name, known)}")
    return shipped_folder() / f"{name}.yaml"


def space_path(given: Path) -> Path:
    """The sweep file that is meant: the path itself, else the shipped one of this name.

    Example:
        >>> space_path(Path("mosi")).name
        'mosi.yaml'
    """
    if given.exists() or given.suffix:
        return given
    return shipped_space(given.as_posix()) if given.as_posix() in shipped_spaces() else given


def space_argument(text: str) -> Path:
    """`space_path` of what a command line says."""
    return space_path(Path(text))
