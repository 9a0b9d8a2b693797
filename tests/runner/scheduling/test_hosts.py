"""Where the next trial runs as hosts come, go and are left out. No Ray."""

from __future__ import annotations

from typing import Any

import pytest

from cmir.errors import PlaceError
from cmir.runner.scheduling import hosts as module
from cmir.runner.scheduling.hosts import Host, Hosts, Place
from cmir.runner.scheduling.placement import Resources
from tests.support.made_up_hosts import host

WITH_GPUS = Resources(1, gpus_per_trial=0.25, address="head:6379")


@pytest.fixture(autouse=True)
def _asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH", -1.0)


def taken(hosts: Hosts) -> list[Place]:
    """The places of as many trials as there is room for."""
    places: list[Place] = []
    while hosts.has_room(places):
        places.append(hosts.place(places))
    return places


def test_each_processor_of_the_cluster_has_a_trial_also_of_hosts_that_come_late() -> None:
    alive = [host(0, 2)]
    hosts = Hosts(WITH_GPUS, 4, None, lambda: alive)
    assert taken(hosts) == [Place(1)] * 2
    alive.append(host(1, 3))
    assert taken(hosts) == [Place(1)] * 5
    del alive[0]
    assert hosts.resources.concurrency == 3


def test_the_number_that_was_asked_for_holds_whatever_the_cluster_has() -> None:
    assert len(taken(Hosts(WITH_GPUS, 4, 7, lambda: [host(0, 2)]))) == 7


def test_a_cluster_without_a_host_is_asked_for_one_trial() -> None:
    alive: list[Host] = []
    hosts = Hosts(WITH_GPUS, 4, None, lambda: alive)
    assert taken(hosts) == [Place(1)]
    assert not hosts.is_outdated(Place(1))


def test_gpu_hosts_run_trials_on_gpus_and_others_on_processors() -> None:
    hosts = Hosts(WITH_GPUS, 4, None, lambda: [host(0, 2), host(1, 3, gpus=1)])
    assert taken(hosts) == [Place(1, 0.25)] * 3 + [Place(1, 0.0, ("h1",))] * 2


def test_where_trials_take_no_gpu_a_host_that_has_one_is_like_any_other() -> None:
    hosts = Hosts(Resources(1), 4, None, lambda: [host(0, 2), host(1, 3, gpus=1)])
    assert taken(hosts) == [Place(1)] * 5


def test_a_trial_that_died_is_placed_elsewhere_while_there_is_an_elsewhere() -> None:
    alive = [host(0), host(1)]
    hosts = Hosts(Resources(1), 4, None, lambda: alive)
    assert hosts.place([], ["h1", "gone"]) == Place(1, avoided=("h1",))
    assert hosts.place([], ["h0", "h1"]) == Place(1)
    del alive[0]
    assert hosts.is_outdated(Place(1, avoided=("h1",)))
    assert hosts.place([], ["h1"]) == Place(1)


def test_a_host_that_is_left_out_gets_no_trial_and_the_last_one_ends_the_sweep() -> None:
    hosts = Hosts(Resources(1), 4, None, lambda: [host(0), host(1, 2)])
    assert taken(hosts) == [Place(1)] * 3
    hosts.leave_out("h1", "no data there")
    assert taken(hosts) == [Place(1, avoided=("h1",))]
    assert hosts.is_outdated(Place(1))
    told = "no host is left that can train:\n  n1: no data there\n  n0: other data there\n"
    with pytest.raises(PlaceError, match=told):
        hosts.leave_out("h0", "other data there")


def test_a_gpu_host_that_is_left_out_leaves_its_trials_to_processors() -> None:
    hosts = Hosts(WITH_GPUS, 4, None, lambda: [host(0, 1), host(1, 2, gpus=1)])
    waiting = hosts.place([])
    hosts.leave_out("h1", "no GPU is seen there")
    assert hosts.is_outdated(waiting)
    assert taken(hosts) == [Place(1, avoided=("h1",))]


def test_on_a_single_host_its_fault_is_the_whole_message() -> None:
    with pytest.raises(PlaceError, match=r"^no data there$"):
        Hosts(Resources(1), 4, None, lambda: [host(0)]).leave_out("h0", "no data there")


def test_ray_is_told_of_avoided_hosts_by_their_label() -> None:
    asked: Any = Place(2, 0.5, ("a", "b")).request()
    selectors = asked._bound.kwargs["bundle_label_selector"]
    assert selectors == [{"ray.io/node-id": "!in(a,b)"}]
    assert Place(2, 0.5).request().bundles == [{"CPU": 2.0, "GPU": 0.5}]
