"""The command `cmir`: `cmir sweep` and the others; each is also a script of `workflows/`.

Nothing that takes seconds is imported before the command waits for signals.
"""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

from cmir import __version__
from cmir.errors import nearest
from cmir.process import interruption
from cmir.process.interruption import NOTHING_LOST, NOTHING_WRITTEN

# Name: what it does, and what it means that it is interrupted.
COMMANDS = {
    "prepare": ("feature files to a data set folder, with a data card", NOTHING_WRITTEN),
    "embed": ("texts of a data set to vectors of a language model", NOTHING_WRITTEN),
    "sweep": ("run or continue a sweep", NOTHING_LOST),
    "ablate": ("take the best trial apart", NOTHING_LOST),
    "rivals": ("compare it with other methods at equal budget", NOTHING_LOST),
    "promote": (
        "judge the best trials and register the winner; --list, --compare, --rollback",
        "Nothing was registered; what was trained is kept: the same command continues.",
    ),
    "predict": ("score samples with a registered model", NOTHING_WRITTEN),
    "reproduce": ("train a registered model again and compare", NOTHING_WRITTEN),
    "reproduce_paper": ("the paper's protocol on its six data sets", NOTHING_LOST),
    "init": ("copy a shipped sweep file here, to be edited", NOTHING_WRITTEN),
}


# They import for seconds before they have anything to say of their own.
SLOW = ("prepare", "embed", "sweep", "ablate", "rivals", "promote", "reproduce", "reproduce_paper")
# What asks for an answer alone.
PLAIN = {"-h", "--help", "--quiet", "--json", "--list", "--compare"}


def main() -> NoReturn:
    """`cmir COMMAND ...`; exits with the command's code, or 2 where there is no such command."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        sys.exit(0)
    if words[0] == "--version":
        print(f"cmir-sweep {__version__}")
        sys.exit(0)
    name = words[0].replace("-", "_")
    if name not in COMMANDS:
        hint = nearest(name, list(COMMANDS))
        print(f"cmir: there is no command '{words[0]}'.{hint}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"cmir {words[0]}", *words[1:]]
    run(name)


def run(name: str) -> NoReturn:
    """Runs a command with the words of `sys.argv`; from its first import on Ctrl-C ends it."""
    interruption.watch(COMMANDS[name][1])
    if name in SLOW and not PLAIN & set(sys.argv[1:]):
        print(f"cmir-sweep {__version__}: {COMMANDS[name][0]}", flush=True)
    module = importlib.import_module(f"cmir.commands.{name}_command")
    interruption.leave(module.main)


def usage() -> str:
    """What `cmir` prints."""
    lines = [f"  {name:16}{what}" for name, (what, _) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: cmir COMMAND ...",
            "",
            *lines,
            "",
            "`cmir COMMAND --help` says what a command takes.",
        ]
    )
