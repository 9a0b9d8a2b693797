"""Which deaths of workers count against a trial. No Ray."""

from __future__ import annotations

from cmir.runner.scheduling.hosts import Host, Hosts
from cmir.runner.scheduling.placement import Resources
from cmir.runner.scheduling.worker_deaths import FORGIVEN, Death, Deaths
from tests.support.made_up_hosts import host


def deaths_on(alive: list[Host]) -> Deaths:
    return Deaths(Hosts(Resources(1), 4, None, lambda: alive), notice=0.0)


def test_a_process_may_die_three_times() -> None:
    deaths = deaths_on([host(0), host(1)])
    reasons = [deaths.note(5, Death(f"h{n % 2}")) for n in range(FORGIVEN + 1)]
    assert "on host n0: 1 of 3 times" in reasons[0]
    assert [bool(reason) for reason in reasons] == [True, True, True, False]
    assert deaths.tried(5) == ["h0", "h1", "h0", "h1"]
    assert deaths.note(6, Death("h0"))


def test_hosts_that_are_lost_or_taken_away_never_use_up_a_trial() -> None:
    alive = [host(0), host(1)]
    deaths = deaths_on(alive)
    for _ in range(5):
        assert deaths.note(5, Death("h0", is_taken=True)) == "its host, n0, went away"
        assert "went away" in deaths.note(5, Death("gone"))
    for _ in range(FORGIVEN):
        assert deaths.note(5, Death("h0"))
    # Noticed later: the processes died because their host did.
    del alive[0]
    assert deaths.note(5, Death("h1")).endswith("1 of 3 times")


def test_a_death_at_a_place_that_is_not_known_counts() -> None:
    deaths = deaths_on([host(0)])
    assert [bool(deaths.note(1, Death())) for _ in range(4)] == [True, True, True, False]
