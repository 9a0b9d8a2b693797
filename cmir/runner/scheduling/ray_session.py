"""Ray while trials run: started on this machine or joined at an address, watched, and ended."""

from __future__ import annotations

import gc
import logging
import os
import resource
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import ray

from cmir.errors import InputError, PlaceError
from cmir.process.child_processes import children_called, end_children, is_alive
from cmir.process.cluster_address import ADVICE, check_address, has_port
from cmir.process.interruption import THIS, signals_end, time_limit
from cmir.runner.scheduling.cluster_token import check_token
from cmir.runner.scheduling.hosts import Hosts
from cmir.runner.scheduling.placement import Placement, Resources

RAY_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Tune's workers have an environment of their own, so that those which Ray starts in advance
    # are never used: they would only import Ray once more each.
    "RAY_prestart_worker_first_driver": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    # Of workers, added to the driver's: Ray's own 15 starves them beside whatever else runs here.
    "RAY_worker_niceness": "0",
    # Its agents would write the whole log of a raylet that is gone to the terminal: not before it
    # has been noticed here.
    "RAY_DASHBOARD_AGENT_CHECK_PARENT_INTERVAL_S": "2",
    # Else Tune begins a trial of a preempted node again by itself, with its epochs counted twice.
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",
    # Else Tune's own handler swallows the next Ctrl-C.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
# Ray's sockets lie in <folder>/ray/session_<time>_<process>/sockets, and no path of a socket may
# be longer than 107 bytes.
LONGEST_SOCKET, BELOW_FOLDER = 107, 76
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
# Seconds for a cluster to be joined.
JOINING = 30.0
# Files, sockets and pipes that a driver of a few workers opens.
FEWEST_FILES = 256
# Seconds between two looks at Ray's processes, and for the driver to end when one is gone.
LOOK, UNWIND = 0.5, 3.0
SERVERS = ("gcs_server", "raylet")


class RayProcesses:
    """The servers of a Ray that was started here: without one of them nothing goes on.

    Ray itself waits for a new one: for ever where the raylet is gone, a minute for the GCS.
    """

    def __init__(self) -> None:
        """Before Ray starts: those of an earlier Ray of this process may still be ending."""
        self._earlier = set(children_called(*SERVERS))
        self._servers: dict[int, str] = {}
        self._left = threading.Event()

    def check(self) -> None:
        """Raises PlaceError if one has ended."""
        if len(self._servers) < len(SERVERS):
            found = children_called(*SERVERS)
            self._servers |= {n: found[n] for n in found.keys() - self._earlier}
        for number, name in self._servers.items():
            if not is_alive(number):
                raise PlaceError(
                    f"Ray's process {name} ({number}) ended on its own: it was killed, or the "
                    "machine ran out of memory. Trials in flight are kept: run the same command "
                    "again."
                )

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Ends the command where one has ended and the block hangs because of it."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._left.set()
            thread.join(UNWIND)

    def stop(self) -> None:
        """Ends Ray: at once where a signal has arrived or a server is gone, else by its own way."""
        are_all_here = all(is_alive(number) for number in self._servers)
        if THIS.is_watched and self._servers and (THIS.is_told or not are_all_here):
            THIS.abandon()
        else:
            _shut_down()

    def _watch(self) -> None:
        while not self._left.wait(LOOK):
            try:
                self.check()
            except PlaceError as error:
                if THIS.is_watched:
                    end_children()
                    if not self._left.wait(UNWIND):
                        THIS.end(2, str(error))
                return


def _shut_down() -> None:
    """Ends Ray, with no garbage collection in another thread meanwhile.

    One that frees a handle of Ray's while its core goes away ends the process without a word.
    """
    is_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if is_enabled:
            gc.enable()


@contextmanager
def ray_running(placement: Placement) -> Iterator[tuple[Hosts, RayProcesses]]:
    """Ray while the block runs: a cluster's, or one of this machine with what the trials need.

    Yields:
        the hosts that trials may run on, and the servers started for them.

    Raises:
        InputError: nothing answers at the address, or Ray cannot start here.
    """
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    is_here = placement.address is None
    resources = placement.here() if is_here else placement.on_cluster()
    limit = resources.concurrency if is_here else placement.concurrency
    _raise_file_limit()
    processes = RayProcesses()
    try:
        # The servers of a cluster are not this command's.
        with processes.watched() if is_here else nullcontext():
            with signals_end():
                _start(resources)
            # Ray has put its own handler of SIGTERM in place.
            THIS.install()
            yield Hosts(resources, placement.trials_per_gpu, limit), processes
    finally:
        processes.stop()


def _start(resources: Resources) -> None:
    if resources.address is None:
        with _started_here():
            ray.init(**_local(resources), logging_level=logging.ERROR, log_to_driver=False)
        return
    address = resources.address
    check_address(address)
    told = f"--address {address}: no Ray cluster answers there"
    with time_limit(JOINING, f"{told} within {JOINING:.0f} seconds. {ADVICE}"):
        if has_port(address):
            check_token(address)
        try:
            ray.init(address=address, logging_level=logging.CRITICAL, log_to_driver=False)
        except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError.
            raise InputError(f"{told}: {_first_line(error)} {ADVICE}") from error


def _local(resources: Resources) -> dict[str, Any]:
    # "local", as Ray would else join whatever cluster somebody has started on this machine.
    return {
        "address": "local",
        "num_cpus": resources.concurrency * resources.cpus_per_trial,
        "include_dashboard": False,
        "object_store_memory": 128 << 20,
        "_temp_dir": str(_short_folder() / "ray"),
    }


@contextmanager
def _started_here() -> Iterator[None]:
    """Says in one sentence why Ray does not start on this machine."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise PlaceError(
            f"Ray does not start on this machine: {_first_line(error)} Its log lies below "
            f"{_short_folder() / 'ray' / 'session_latest' / 'logs'}."
        ) from error


def _short_folder() -> Path:
    """The folder for temporary files, or another where its path is too long for Ray's sockets.

    Raises:
        InputError: RAY_TMPDIR is set to one that is too long, or there is none.
    """
    wished = os.environ.get("RAY_TMPDIR")
    if wished is not None and not _fits(Path(wished)):
        raise InputError(
            f"RAY_TMPDIR={wished}: must have at most {LONGEST_SOCKET - BELOW_FOLDER} bytes, as "
            "Ray's sockets lie below it. Give a shorter one, or unset it."
        )
    for name in (wished or tempfile.gettempdir(), *SHORT_FOLDERS):
        if _fits(Path(name)) and os.access(name, os.W_OK | os.X_OK):
            return Path(name)
    raise InputError(
        f"TMPDIR={tempfile.gettempdir()}: is too long for Ray's sockets, and none of "
        f"{', '.join(SHORT_FOLDERS)} can be written. Set RAY_TMPDIR to a short folder."
    )


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder.absolute())) <= LONGEST_SOCKET - BELOW_FOLDER


def _raise_file_limit() -> None:
    """Lets this process open as many files as it may.

    Raises:
        InputError: those are too few for Ray's connections.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < FEWEST_FILES:
        raise InputError(
            f"the limit of open files is {most} here, but trials on Ray need at least "
            f"{FEWEST_FILES}: raise it with `ulimit -n 4096`, or ask who runs this machine."
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".") + "."
