"""Hosts as the driver knows them, without Ray."""

from __future__ import annotations

from cmir.runner.scheduling.hosts import Host, Hosts
from cmir.runner.scheduling.placement import Resources


def host(number: int, cpus: int = 1, gpus: int = 0) -> Host:
    """The host `h0`, `h1`, ... called `n0`, `n1`, ..."""
    return Host(f"h{number}", f"n{number}", cpus, gpus)


def made_up_hosts(*cpus: int) -> Hosts:
    """Hosts with so many processors each, none of which ever goes."""
    alive = [host(number, count) for number, count in enumerate(cpus)]
    return Hosts(Resources(1), 4, None, lambda: alive)
