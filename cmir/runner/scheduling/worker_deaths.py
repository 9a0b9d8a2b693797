"""How worker processes die, and how often a trial may lose one before it counts as failed."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import ray
from ray import cloudpickle
from ray.exceptions import RayActorError
from ray.tune.experiment import Trial as RayTrial

from cmir.runner.scheduling.hosts import Hosts

# So many deaths of its process are forgiven a trial.
FORGIVEN = 3
# Seconds that Ray is given to notice that a host went, before a death counts for good.
NOTICE = 5.0
DIED = "its worker process died (out of memory, or ended from outside)"


@dataclass(frozen=True)
class Death:
    """A worker process that ended without a last report.

    Attributes:
        host: Ray's id of where it ran; empty where that is not known.
        is_taken: whether its host was taken away after a warning, as preempted machines are.
        unfit: why the process could not even begin there; empty where it could.
    """

    host: str = ""
    is_taken: bool = False
    unfit: str = ""


class Deaths:
    """Where the processes of trials died. Only those count whose host lives on."""

    def __init__(self, hosts: Hosts, notice: float = NOTICE) -> None:
        self._hosts, self._notice = hosts, notice
        self._where: defaultdict[int, list[str]] = defaultdict(list)

    def tried(self, number: int) -> list[str]:
        """The hosts where a trial has died."""
        return self._where.get(number, [])

    def note(self, number: int, death: Death) -> str:
        """Notes a death, unless the host has gone with the process.

        Returns:
            why the trial shall be tried again; empty where it has failed.
        """
        name = self._hosts.name(death.host)
        if death.is_taken or not self._counted([death.host]):
            return f"its host, {name}, went away"
        self._where[number].append(death.host)
        count = self._counted(self._where[number])
        if count > FORGIVEN:
            time.sleep(self._notice)
            count = self._counted(self._where[number])
        if count > FORGIVEN:
            return ""
        return f"{DIED} on host {name}: {count} of {FORGIVEN} times"

    def _counted(self, hosts: list[str]) -> int:
        """How many of these hosts live; one that is not known does."""
        known = [host for host in hosts if host]
        return len(hosts) - len(known) + sum(self._hosts.are_alive(known))


def death_of(trial: RayTrial) -> Death:
    """What Ray knows of how the process of a trial ended."""
    error = _error(trial)
    if not isinstance(error, RayActorError):
        return Death()
    host = _host(error.actor_id)
    unfit = ""
    if error.actor_init_failed:
        unfit = f"a worker cannot start there: {str(error).strip().splitlines()[-1]}"
    return Death(host, error.preempted, unfit)


def _error(trial: RayTrial) -> BaseException | None:
    """The exception; Ray Tune keeps it in a file of its own only."""
    file = trial.pickled_error_file
    if file is None or not Path(file).is_file():
        return None
    found: BaseException = cloudpickle.loads(Path(file).read_bytes())
    return found


def _host(actor: str | None) -> str:
    if actor is None:
        return ""
    found = ray._private.state.actors(actor)
    return str(found.get("Address", {}).get("NodeID", ""))
