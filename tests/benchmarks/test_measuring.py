"""Seconds and bytes of what runs on this machine."""

from __future__ import annotations

import sys
import time

import pytest
import torch

from benchmarks.support.measuring import free_memory, peak, seconds, start_of_peak

CPU = torch.device("cpu")


def test_the_seconds_of_a_call_are_those_that_it_takes() -> None:
    assert seconds(lambda: time.sleep(0.02), CPU) >= 0.02


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_holds_what_was_in_use_at_the_same_time() -> None:
    before = start_of_peak(CPU)
    held = torch.ones(16 << 20)
    assert peak(CPU) >= max(before, held.nbytes) > 0


def test_free_memory_is_a_positive_number_of_bytes_where_the_system_says_it() -> None:
    free = free_memory(CPU)
    assert free is None or free > 1 << 20
