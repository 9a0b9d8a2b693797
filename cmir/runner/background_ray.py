"""Ray in a thread of its own: it starts and ends while the driver does other things."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import ray

from cmir.runner.placement import Resources
from cmir.runner.ray_tune import start_ray


class BackgroundRay:
    """Ray, which takes seconds to start and one to end, mostly waiting for its own processes.

    One thread does both and stays in between: Linux ends Ray's processes with the thread that
    began them. Leaving the block ends Ray, if it was started, and waits until it has ended.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ray")
        self._started: Future[None] | None = None

    def __enter__(self) -> BackgroundRay:
        return self

    def __exit__(self, *exception: object) -> None:
        with self.ending():
            pass
        self._thread.shutdown()

    def start(self) -> None:
        """Begins to start Ray, unless that has begun already; returns at once."""
        if self._started is None:
            # Ray warns that it leaves SIGTERM alone outside the main thread, which is what we want.
            logging.getLogger("ray").setLevel(logging.ERROR)
            self._started = self._thread.submit(start_ray, self._resources)

    def wait(self) -> None:
        """Starts Ray if need be, and waits until it runs; raises what kept it from starting."""
        self.start()
        assert self._started is not None
        self._started.result()

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Ends Ray while the block runs, if it was started, and then waits until it has ended.

        The block must not touch Ray.
        """
        if self._started is None:
            yield
            return
        self._started = None
        # Ray ends the process, with exit code 1, when an object of its own is freed in another
        # thread while it shuts down: no garbage is collected until it has.
        gc.disable()
        ended = self._thread.submit(_shut_down)
        yield
        ended.result()


def _shut_down() -> None:
    try:
        ray.shutdown()
    finally:
        gc.enable()
