"""The hosts that trials may run on: which there are, which are left out, how much room they have.

Ray is asked again while trials run, so that hosts which join late are used, and hosts which went
are not waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.tune import PlacementGroupFactory

from cmir.errors import PlaceError
from cmir.runner.scheduling.placement import Resources

# The label by which Ray knows a node.
NODE = "ray.io/node-id"
# Seconds after which Ray is asked again.
FRESH = 2.0


@dataclass(frozen=True)
class Host:
    """A node of Ray: its id, what it is called, and what it has."""

    key: str
    name: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Place:
    """What a trial asks of Ray: processors, a share of a GPU, and hosts where it shall not run."""

    cpus: int
    gpus: float = 0.0
    avoided: tuple[str, ...] = ()

    def request(self) -> PlacementGroupFactory:
        """As Ray Tune wants it."""
        bundle = {"CPU": self.cpus, "GPU": self.gpus}
        if not self.avoided:
            return PlacementGroupFactory([bundle])
        elsewhere = {NODE: f"!in({','.join(self.avoided)})"}
        return PlacementGroupFactory([bundle], bundle_label_selector=[elsewhere])


def hosts_of_ray() -> list[Host]:
    """The nodes that Ray counts as alive."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [_host(node) for node in nodes if node["Alive"]]


def _host(node: dict[str, Any]) -> Host:
    has = node["Resources"]
    name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
    return Host(node["NodeID"], name, int(has.get("CPU", 0)), int(has.get("GPU", 0)))


class Hosts:
    """The hosts of a sweep, and those of them that are left out."""

    def __init__(
        self,
        each: Resources,
        per_gpu: int,
        limit: int | None,
        read: Callable[[], list[Host]] = hosts_of_ray,
    ) -> None:
        """Ray is asked only when something is wanted.

        Args:
            each: what a trial takes: processors, and its share of a GPU where it runs on one. With
                a share of 0 trials run on processors wherever there are GPUs.
            per_gpu: trials that share a GPU.
            limit: trials at a time; None: as many as there is room for.
            read: the hosts that are alive.
        """
        self._each, self._per_gpu, self._limit, self._read = each, per_gpu, limit, read
        self._left_out: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._alive: list[Host] = []
        self._asked = -FRESH

    @property
    def resources(self) -> Resources:
        """What a trial takes, and how many run at a time as it is now."""
        return replace(self._each, concurrency=self._room())

    def has_room(self, taken: Sequence[Place]) -> bool:
        """Whether a further trial may be asked for.

        The first one may always: where there is no host yet, its request is what lets a cluster
        grow, and so may as many as were asked for by number.
        """
        return len(taken) < self._room()

    def place(self, taken: Sequence[Place], tried: Sequence[str] = ()) -> Place:
        """Where a further trial shall run: on a GPU while one has room, else on processors.

        Args:
            taken: the places of the trials that run or wait.
            tried: hosts where the trial has died, avoided while there are others.
        """
        fit = self._fit()
        with_gpu = [host for host in fit if host.gpus]
        others = [host for host in fit if not host.gpus]
        on_gpu = sum(place.gpus > 0 for place in taken)
        others_are_full = len(taken) - on_gpu >= self._slots(others)
        takes_gpu = bool(with_gpu) and (on_gpu < self._slots(with_gpu) or others_are_full)
        avoided = self._never(takes_gpu)
        if any(host.key not in tried for host in (with_gpu if takes_gpu else others)):
            avoided |= set(tried) & {host.key for host in fit}
        share = self._each.gpus_per_trial if takes_gpu else 0.0
        return Place(self._each.cpus_per_trial, share, tuple(sorted(avoided)))

    def is_outdated(self, place: Place) -> bool:
        """Whether a trial that waits for this place shall get another one.

        Because it might be given one on a host that is left out or that others need, or because
        none of the hosts it waits for is there any more.
        """
        fit, avoided = self._fit(), set(place.avoided)
        serving = [h for h in fit if h.key not in avoided and (h.gpus or not place.gpus)]
        return bool(fit) and (not serving or not self._never(place.gpus > 0) <= avoided)

    def leave_out(self, key: str, why: str) -> None:
        """No trial shall run on this host from now on.

        Raises:
            PlaceError: none is left.
        """
        self._left_out[key] = why
        self._refresh()
        if self._fit():
            return
        if len(self._names) == 1:
            raise PlaceError(why)
        faults = "\n".join(f"  {self.name(one)}: {told}" for one, told in self._left_out.items())
        raise PlaceError(
            f"no host is left that can train:\n{faults}\nMend one, then run the same command "
            "again: trials in training are kept and run again."
        )

    def is_left_out(self, key: str) -> bool:
        """Whether it is left out already."""
        return key in self._left_out

    def are_alive(self, keys: Sequence[str]) -> list[bool]:
        """Whether Ray counts each of these hosts as alive, asked now."""
        self._refresh()
        alive = {host.key for host in self._alive}
        return [key in alive for key in keys]

    def name(self, key: str) -> str:
        """What a host is called, also one that is gone."""
        if key not in self._names:
            self._refresh()
        return self._names.get(key, "unknown")

    def _room(self) -> int:
        return max(1, self._limit or self._slots(self._fit()))

    def _slots(self, hosts: Sequence[Host]) -> int:
        """Trials that find room on hosts: those with GPUs run trials on these only."""
        each = self._each.cpus_per_trial
        most = [host.cpus // each for host in hosts]
        on_gpus = [host.gpus * self._per_gpu for host in hosts]
        return sum(min(m, g) if g else m for m, g in zip(most, on_gpus, strict=True))

    def _never(self, takes_gpu: bool) -> set[str]:
        """Hosts that are there, and where such a trial must not run."""
        return {
            host.key
            for host in self._hosts()
            if host.key in self._left_out or (host.gpus and not takes_gpu)
        }

    def _fit(self) -> list[Host]:
        """Hosts that may be given a trial."""
        needed = self._each.cpus_per_trial
        return [h for h in self._hosts() if h.key not in self._left_out and h.cpus >= needed]

    def _hosts(self) -> list[Host]:
        if time.monotonic() - self._asked > FRESH:
            self._refresh()
        return self._alive

    def _refresh(self) -> None:
        found = self._read()
        uses_gpus = self._each.gpus_per_trial > 0
        self._alive = [host if uses_gpus else replace(host, gpus=0) for host in found]
        self._names |= {host.key: host.name for host in found}
        self._asked = time.monotonic()
