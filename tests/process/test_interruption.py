"""Signals to a command, as real processes: a script that begins as every command does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cmir.process.child_processes import is_alive

BEGIN = """
from cmir.process import interruption
interruption.watch("Nothing is lost.")
import subprocess, sys, time
def ready():
    print("ready", flush=True)
"""
SENTENCE = "Interrupted. Nothing is lost.\n"


class Command:
    """A script of ours, begun and ready to be told to end."""

    def __init__(self, folder: Path, body: str) -> None:
        (folder / "command.py").write_text(BEGIN + body)
        path = os.pathsep.join([str(folder), str(Path(__file__).parents[1])])
        self.process = subprocess.Popen(
            [sys.executable, folder / "command.py"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()

    def told(self, *numbers: int, apart: float = 0.8) -> tuple[int, str]:
        """Exit code and what stands on stderr; fails where the command lives on for 20 s."""
        for place, number in enumerate(numbers):
            time.sleep(apart if place else 0)
            self.process.send_signal(number)
        _, error = self.process.communicate(timeout=20)
        return self.process.returncode, error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_imports_ends_the_command_at_once(tmp_path: Path, number: int) -> None:
    (tmp_path / "slow.py").write_text("print('ready', flush=True)\nimport time\ntime.sleep(30)\n")
    assert Command(tmp_path, "import slow\n").told(number) == (130, SENTENCE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_command_lets_it_clean_up(tmp_path: Path, number: int) -> None:
    body = """
def main():
    try:
        ready()
        time.sleep(30)
    finally:
        print("cleaned", file=sys.stderr)
interruption.leave(main)
"""
    assert Command(tmp_path, body).told(number) == (130, "cleaned\n" + SENTENCE)


SWALLOWS = """
interruption.GRACE = 0.7
def main():
    ready()
    while True:
        try:
            time.sleep(30)
        except KeyboardInterrupt:
            pass
interruption.leave(main)
"""


def test_a_command_that_does_not_unwind_is_ended(tmp_path: Path) -> None:
    assert Command(tmp_path, SWALLOWS).told(signal.SIGTERM) == (130, SENTENCE)


def test_a_second_signal_ends_the_command_at_once(tmp_path: Path) -> None:
    slow = SWALLOWS.replace("GRACE = 0.7", "GRACE = 60")
    assert Command(tmp_path, slow).told(signal.SIGTERM, signal.SIGINT) == (130, SENTENCE)


def test_one_ctrl_c_that_arrives_twice_is_one(tmp_path: Path) -> None:
    body = """
def main():
    ready()
    try:
        time.sleep(30)
    finally:
        time.sleep(0.3)
        print("cleaned", file=sys.stderr)
interruption.leave(main)
"""
    told = Command(tmp_path, body).told(signal.SIGINT, signal.SIGTERM, apart=0.02)
    assert told == (130, "cleaned\n" + SENTENCE)


def test_a_signal_inside_an_import_of_a_running_command_does_not_hang_it(tmp_path: Path) -> None:
    """An exception there may be swallowed, or leave the lock of all imports held."""
    body = """
import importlib._bootstrap as bootstrap, os, signal
real = bootstrap._imp
class Imp:
    def __getattr__(self, name):
        return getattr(real, name)
    def acquire_lock(self):
        real.acquire_lock()
        if sys._getframe(1).f_code.co_name == "cb":
            os.kill(os.getpid(), signal.SIGTERM)
def main():
    ready()
    bootstrap._imp = Imp()
    import tabnanny
    import this_module_is_not_there
interruption.leave(main)
"""
    command = Command(tmp_path, body)
    _, error = command.process.communicate(timeout=20)
    assert (command.process.returncode, error) == (130, SENTENCE)


def test_what_the_command_has_started_ends_with_it(tmp_path: Path) -> None:
    body = """
def main():
    # A child that its parent does not know of any longer, as an orphan of Ray's.
    shell = "setsid sleep 60 & echo $!"
    print(subprocess.run(["sh", "-c", shell], stdout=subprocess.PIPE, text=True).stdout, flush=True)
    time.sleep(30)
interruption.leave(main)
"""
    body = body.replace("sleep 60 &", "sleep 60 > /dev/null 2>&1 &")
    command = Command(tmp_path, body)
    orphan = int(command.first)
    assert is_alive(orphan)
    assert command.told(signal.SIGTERM)[0] == 130
    for _ in range(100):  # The system takes a moment to end what was told to.
        if not is_alive(orphan):
            return
        time.sleep(0.1)
    pytest.fail(f"process {orphan} outlived the command by 10 s")


def test_a_failure_that_a_signal_has_caused_is_an_interruption(tmp_path: Path) -> None:
    body = """
def main():
    ready()
    try:
        time.sleep(30)
    except KeyboardInterrupt:
        raise RuntimeError("a worker went away")
interruption.leave(main)
"""
    assert Command(tmp_path, body).told(signal.SIGTERM) == (130, SENTENCE)


def test_without_a_signal_a_command_keeps_its_code_and_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert Command(tmp_path / "a", "interruption.leave(lambda: 3)\n").told() == (3, "")
    failing = "def main():\n    raise RuntimeError('a bug')\ninterruption.leave(main)\n"
    code, error = Command(tmp_path, failing).told()
    assert code == 1
    assert error.startswith("Traceback")


def test_a_character_that_the_terminal_lacks_becomes_a_question_mark(tmp_path: Path) -> None:
    (tmp_path / "command.py").write_text(BEGIN + "print('\\u00b1 1')\n")
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, tmp_path / "command.py"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": root, "PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout == "? 1\n"
