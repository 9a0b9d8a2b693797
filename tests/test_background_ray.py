"""Ray that starts and ends in a thread; in a process of its own, which Ray would end if misused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cmir.sweep.background_ray import BackgroundRay
from cmir.sweep.schedule import Resources

PROGRAM = """
import gc, ray
from cmir.sweep.background_ray import BackgroundRay
from cmir.sweep.schedule import Resources

class Loop:
    def __init__(self, reference):
        self.reference, self.me = reference, self

with BackgroundRay(Resources(1)) as cluster:
    cluster.start()
    cluster.wait()
    add = ray.remote(num_cpus=1)(lambda: 1)
    assert ray.get(add.remote()) == 1
    loops = [Loop(add.remote()) for _ in range(5)]
    del loops, add
    with cluster.ending():
        # Enough that garbage, and Ray's references with it, would be collected.
        for _ in range(20):
            numbers = [[number] for number in range(200_000)]
assert not ray.is_initialized() and gc.isenabled()
print("ended")
"""


def test_ray_that_was_never_started_is_not_ended() -> None:
    with BackgroundRay(Resources(1)) as cluster, cluster.ending():
        pass


@pytest.mark.slow
def test_what_runs_while_ray_ends_may_make_garbage() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, "ended"), done.stderr
