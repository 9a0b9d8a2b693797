"""`cmir promote` as a script of a checkout; see `cmir.commands.promote_command`."""

from __future__ import annotations

from cmir.commands.run import run

if __name__ == "__main__":
    run("promote")
