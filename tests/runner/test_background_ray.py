"""Ray that starts and ends in a thread; in a process of its own, which Ray would end if misused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cmir.runner.background_ray import BackgroundRay
from cmir.runner.placement import Resources

# References to objects become garbage, in cycles, one by one while Ray shuts down.
PROGRAM = """
import gc
import ray
from cmir.runner.background_ray import BackgroundRay
from cmir.runner.placement import Resources

class Cycle:
    def __init__(self, reference):
        self.reference, self.me = reference, self

with BackgroundRay(Resources(1)) as cluster:
    cluster.start()
    cluster.wait()
    references = [ray.put(None) for _ in range(4000)]
    with cluster.ending():
        while references:
            Cycle(references.pop())
            numbers = [[number] for number in range(3000)]
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
