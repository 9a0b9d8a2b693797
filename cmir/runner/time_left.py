"""How long a run will take, from the epochs of the trials that have ended and of those that train.

The time shown falls: between two endings of trials it is never raised.
"""

from __future__ import annotations

import time


class TimeLeft:
    """The time until as many trials have ended as shall, so many of them at a time."""

    def __init__(self, longest: int, at_a_time: int) -> None:
        """Knows nothing yet; `longest` is the most epochs of a trial."""
        self._longest, self._at_a_time = longest, max(at_a_time, 1)
        self._began: dict[int, float] = {}
        self._epochs: dict[int, int] = {}
        self._ended = self._ended_epochs = 0
        self._ended_seconds = 0.0
        self._until: float | None = None

    def begin(self, number: int, epoch: int = 0, seconds: float = 0.0) -> None:
        """A trial begins to train, or goes on after so many epochs that took so many seconds."""
        self._began[number], self._epochs[number] = time.monotonic() - seconds, epoch

    def epoch(self, number: int, epoch: int, missing: int) -> None:
        """A trial has trained so many epochs; so many trials have not ended."""
        self._began.setdefault(number, time.monotonic())
        self._epochs[number] = epoch
        found = self._estimate(missing)
        self._until = found if self._until is None else min(self._until, found)

    def end(self, number: int, missing: int) -> None:
        """A trial has ended; so many have not."""
        epochs = self._epochs.pop(number, 0)
        began = self._began.pop(number, time.monotonic())
        if epochs:
            self._ended += 1
            self._ended_epochs += epochs
            self._ended_seconds += time.monotonic() - began
            self._until = self._estimate(missing)

    def let_go(self, number: int) -> None:
        """A trial will run again."""
        self._began.pop(number, None)
        self._epochs.pop(number, None)

    def seconds(self) -> float | None:
        """Until the end, None before the first epoch."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def __str__(self) -> str:
        """As it is shown."""
        seconds = self.seconds()
        if seconds is None:
            return "starting"
        if seconds < 1:
            return "finishing"
        if seconds > 2 * 3600:
            return f"{seconds / 3600:.1f} h left"
        return f"{seconds / 60:.0f} min left" if seconds > 90 else f"{seconds:.0f} s left"

    def _estimate(self, missing: int) -> float:
        """When the last trial ends: the work is shared, but a trial is in one place only."""
        now = time.monotonic()
        usual = self._ended_epochs / self._ended if self._ended else float(self._longest)
        left = [self._left(epoch, usual) for epoch in self._epochs.values()]
        waiting = max(0, missing - len(left))
        longest = max([*left, usual if waiting else 0.0])
        epochs = max((sum(left) + waiting * usual) / self._at_a_time, longest)
        return now + epochs * self._seconds_per_epoch(now)

    def _left(self, epoch: int, usual: float) -> float:
        """Epochs of a trial that trains: whoever passes the usual number goes to the end."""
        return usual - epoch if epoch < usual else max(0.0, float(self._longest - epoch))

    def _seconds_per_epoch(self, now: float) -> float:
        running = [number for number, epoch in self._epochs.items() if epoch]
        seconds = self._ended_seconds + sum(now - self._began[number] for number in running)
        epochs = self._ended_epochs + sum(self._epochs[number] for number in running)
        return seconds / max(epochs, 1)
