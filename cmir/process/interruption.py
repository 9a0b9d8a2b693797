"""A command that is told to end does: by Ctrl-C or SIGTERM, at once or within seconds.

Python runs its handlers of signals between two steps of the main thread only, which may be inside
a library's C code for minutes, and an exception that a handler raises may be swallowed where it
falls. So a thread waits for signals beside it: it ends the process where nothing is lost by that,
where the main thread has not unwound in time, and on a second signal. Only the standard library is
imported here, because a command begins with it, before the imports that take seconds.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from types import FrameType
from typing import NoReturn

from cmir.process.child_processes import end_children, mark_children

INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds for what runs to end by itself; a command promises ten.
GRACE = 7.0
# Signals so close together are one: a terminal, `timeout` and a shell may each pass it on.
SAME = 0.5
NOTHING_LOST = "Nothing is lost: the same command continues."
NOTHING_WRITTEN = "Nothing was written."
SHOW_CURSOR = b"\x1b[?25h"
# Read where Ray is imported: else its core ends the process by SIGTERM, with a dump of its stack.
BEFORE_RAY = "RAY_DISABLE_FAILURE_SIGNAL_HANDLER"


class Answer(Enum):
    """What a signal does."""

    END = "the process ends at once"
    RAISE = "KeyboardInterrupt is raised in the main thread"
    NOTE = "it is noted; `check` raises"


class Interruption:
    """Whether this process was told to end, and what comes of it."""

    def __init__(self) -> None:
        self.answer = Answer.RAISE
        self.sentence = NOTHING_LOST
        self.is_watched, self.is_abandoned = False, False
        # A handler may come between any two steps: it sets plain values, and no locks but this one.
        self._ending = threading.RLock()
        self.forget()

    def forget(self) -> None:
        """Begins anew: no signal has arrived."""
        self.is_told = self._is_said = self._has_raised = False

    def watch(self) -> None:
        """Begins to wait for signals, with a thread of its own."""
        mark_children()
        os.environ.setdefault(BEFORE_RAY, "1")
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self.is_watched, self.answer = True, Answer.END
        self.install()
        threading.Thread(target=self._wait, args=(reading,), daemon=True).start()

    def install(self) -> None:
        """Puts the handlers in place, also where a library has put its own."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._on_signal)

    def say(self, sentence: str = "") -> None:
        """Says on the terminal, once, that the command was interrupted."""
        if not self._is_said:
            self._is_said = True
            _write(f"Interrupted. {sentence or self.sentence}\n")

    def end(self, code: int, sentence: str = "") -> NoReturn:
        """Ends this process and those that it has started, here and now; callable anywhere.

        Args:
            code: to exit with, where no signal has arrived: then it is 130.
            sentence: the error, for the terminal.
        """
        with self._ending:
            code = INTERRUPTED if self.is_told else code
            self.say() if code == INTERRUPTED else _write(f"error: {sentence}\n")
            with suppress(OSError):
                if os.isatty(1):
                    os.write(1, SHOW_CURSOR)
            end_children()
            os._exit(code)

    def abandon(self) -> None:
        """Ends the processes that this one has started, without a word to them.

        Objects of a library that speak to them when they are freed would wait for an answer for
        ever: nothing is freed any more, and `leave` goes without Python's last steps.
        """
        self.is_abandoned = True
        gc.disable()
        gc.freeze()
        end_children()

    def check(self) -> None:
        """Raises KeyboardInterrupt if a signal has arrived."""
        if self.is_told:
            self._has_raised = True
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """The handler, in the main thread; the watching thread may have come first."""
        self.is_told = True
        if self.answer is Answer.END or (self.is_watched and _is_importing(frame)):
            self.end(INTERRUPTED)
        if self.answer is Answer.RAISE and not (self.is_watched and self._has_raised):
            self._has_raised = True
            raise KeyboardInterrupt

    def _wait(self, pipe: int) -> None:
        """The watching thread: the first signal starts the clock, a second one ends the process."""
        while not _arrived(pipe, None):
            pass
        first = time.monotonic()
        self.is_told = True
        while (left := first + GRACE - time.monotonic()) > 0:
            if self.answer is Answer.END:
                break
            if _arrived(pipe, left) and time.monotonic() - first > SAME:
                break
        self.end(INTERRUPTED)


THIS = Interruption()


def watch(sentence: str = NOTHING_LOST) -> None:
    """The first thing a command does, before its imports: from now on signals end it.

    Args:
        sentence: what an interruption means, for the terminal.
    """
    THIS.sentence = sentence
    THIS.watch()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets a question mark in its place.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]


def leave(main: Callable[[], int]) -> NoReturn:
    """Runs a command and exits with its code, or with 130 where it was told to end."""
    code = INTERRUPTED
    try:
        THIS.answer = Answer.RAISE
        THIS.check()
        code = main()
    except KeyboardInterrupt:
        THIS.is_told = True
    except BaseException:
        # A library may have answered the signal, or failed because its processes got it too.
        if not THIS.is_told:
            raise
    sys.exit(_last(code))


def _last(code: int) -> int:
    """What is left to do when a command has ended; returns its exit code."""
    if THIS.is_told:
        code = INTERRUPTED
        THIS.say()
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: os._exit(code))
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    end_children()
    if THIS.is_told or THIS.is_abandoned:
        os._exit(code)
    # What is left is freed with the process: taking it apart one by one takes .8 s.
    gc.freeze()
    return code


@contextmanager
def signals_noted() -> Iterator[None]:
    """In the block a signal is only noted, so that nothing is cut in two: call `check` often."""
    with _answering(Answer.NOTE):
        yield


@contextmanager
def signals_end() -> Iterator[None]:
    """In the block a signal ends the process at once, with the processes that it has started.

    For what hangs in a library's C code, and where nothing is lost that way.

    Raises:
        KeyboardInterrupt: a signal arrived before.
    """
    with _answering(Answer.END if THIS.is_watched else Answer.RAISE):
        yield


@contextmanager
def handling() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, also in a process that is no command of ours."""
    if THIS.is_watched or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    THIS.forget()
    THIS.install()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def time_limit(seconds: float, sentence: str) -> Iterator[None]:
    """Ends a command with code 2 and a sentence where the block takes longer."""
    if not THIS.is_watched:
        yield
        return
    timer = threading.Timer(seconds, THIS.end, (2, sentence))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _answering(answer: Answer) -> Iterator[None]:
    before, THIS.answer = THIS.answer, answer
    try:
        THIS.check()
        yield
    finally:
        THIS.answer = before


def _arrived(pipe: int, seconds: float | None) -> bool:
    """Waits so long for one of our signals; other signals with handlers come this way too."""
    ready, _, _ = select.select([pipe], [], [], seconds)
    return bool(ready) and bool(set(os.read(pipe, 64)) & set(SIGNALS))


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a frame is inside an import: what is raised there may leave its lock held."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _write(text: str) -> None:
    """Writes to the terminal, whatever holds the locks of Python's streams."""
    with suppress(OSError):
        os.write(2, text.encode())
