"""How often the state of a trial is kept, from what an epoch and keeping it cost."""

from __future__ import annotations

import pytest

from cmir.runner.scheduling.kept_state import WORTH, Cadence


def kept_after(seconds: float, cost: float, epochs: int, last: int = 0) -> list[int]:
    """The epochs after which it is kept, where each takes as long."""
    cadence, found = Cadence(last), []
    for epoch in range(last + 1, epochs + 1):
        if cadence.is_due(epoch, epochs, seconds):
            cadence.note(epoch, cost)
            found.append(epoch)
    return found


@pytest.mark.parametrize(
    ("seconds", "cost", "epochs", "wanted"),
    [
        (WORTH * 0.99, 0.0, 40, []),
        # A twentieth of an epoch, and a little more.
        (20.0, 1.0, 6, [1, 2, 3, 4, 5]),
        (20.0, 1.01, 8, [1, 3, 5, 7]),
        # The first one shows that it costs too much for so few epochs.
        (6.0, 3.0, 10, [1]),
        (6.0, 3.0, 25, [1, 11, 21]),
        (60.0, 1.0, 1, []),
    ],
)
def test_the_state_is_kept_every_kth_epoch_and_costs_a_twentieth_at_most(
    seconds: float, cost: float, epochs: int, wanted: list[int]
) -> None:
    found = kept_after(seconds, cost, epochs)
    assert found == wanted
    # The first is what tells the cost.
    assert cost * len(found[1:]) <= 0.05 * seconds * epochs


def test_who_goes_on_counts_from_there() -> None:
    assert kept_after(20.0, 1.5, 12, last=4) == [5, 7, 9, 11]
