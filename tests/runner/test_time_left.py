"""The time left is that of the epochs which are missing, and falls."""

from __future__ import annotations

import time

import pytest

from cmir.runner.time_left import TimeLeft


class Clock:
    """A clock that is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(time, "monotonic", found)
    return found


def test_it_is_known_from_the_first_epoch_on(clock: Clock) -> None:
    left = TimeLeft(10, 1)
    left.begin(0)
    clock.now += 1
    assert str(left) == "starting"
    left.epoch(0, 1, missing=2)
    assert left.seconds() == pytest.approx(19)


def test_a_trial_that_goes_on_has_its_earlier_epochs_behind_it(clock: Clock) -> None:
    left = TimeLeft(10, 1)
    left.begin(0, 6, 12.0)
    clock.now += 2
    left.epoch(0, 7, missing=1)
    assert left.seconds() == pytest.approx(6)


def test_it_falls_between_epochs_too_and_ends_with_a_word(clock: Clock) -> None:
    left, shown = TimeLeft(10, 1), []
    left.begin(0)
    for _ in range(4):
        clock.now += 2.5
        left.epoch(0, 5, missing=1)
        shown.append(left.seconds())
    assert shown == [2.5, 0.0, 0.0, 0.0]
    assert str(left) == "finishing"


def test_a_slow_epoch_does_not_raise_it_but_the_end_of_a_trial_may(clock: Clock) -> None:
    left = TimeLeft(10, 1)
    left.begin(0)
    clock.now += 1
    left.epoch(0, 1, missing=3)
    clock.now += 20
    left.epoch(0, 2, missing=3)
    assert left.seconds() == pytest.approx(29 - 20)
    left.end(0, missing=2)
    # Trials end after two epochs now, of 10.5 s each.
    assert left.seconds() == pytest.approx(2 * 2 * 10.5)


def test_trials_that_train_side_by_side_share_the_work(clock: Clock) -> None:
    left = TimeLeft(10, 2)
    left.begin(0)
    left.begin(1)
    clock.now += 1
    left.epoch(0, 1, missing=4)
    left.epoch(1, 1, missing=4)
    assert left.seconds() == pytest.approx((9 + 9 + 10 + 10) / 2)


def test_the_last_trial_takes_its_whole_time_though_others_could_run_beside_it(
    clock: Clock,
) -> None:
    left = TimeLeft(10, 4)
    left.begin(0)
    clock.now += 1
    left.epoch(0, 1, missing=1)
    assert left.seconds() == pytest.approx(9)


def test_a_trial_that_passes_the_usual_number_of_epochs_is_expected_to_go_to_the_end(
    clock: Clock,
) -> None:
    left = TimeLeft(10, 1)
    for number in range(2):
        left.begin(number)
        for epoch in (1, 2) if number == 0 else (1, 2, 3):
            clock.now += 1
            left.epoch(number, epoch, missing=2 - number)
        if number == 0:
            left.end(number, missing=1)
    left._until = None
    left.epoch(1, 3, missing=1)
    assert left.seconds() == pytest.approx(7)


def test_a_trial_that_begins_anew_has_all_its_epochs_before_it(clock: Clock) -> None:
    left = TimeLeft(4, 1)
    left.begin(0)
    clock.now += 3
    left.epoch(0, 3, missing=1)
    left.let_go(0)
    left.begin(0)
    clock.now += 1
    left._until = None
    left.epoch(0, 1, missing=1)
    assert left.seconds() == pytest.approx(3)


@pytest.mark.parametrize(
    ("seconds", "words"), [(42.0, "42 s left"), (600.0, "10 min left"), (9000.0, "2.5 h left")]
)
def test_it_is_told_in_the_unit_that_fits(clock: Clock, seconds: float, words: str) -> None:
    left = TimeLeft(2, 1)
    left.begin(0)
    clock.now += seconds
    left.epoch(0, 1, missing=1)
    assert str(left) == words
