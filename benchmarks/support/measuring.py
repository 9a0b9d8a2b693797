"""What a training costs: seconds, and bytes of memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Wall time of a call, with what it left running on the device."""
    _wait(device)
    began = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - began


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on the device; None where the system does not say."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(device)[0])
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable")


def start_of_peak(device: torch.device) -> int:
    """Bytes in use, from which the peak is counted: of the GPU, or of this process."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    return _kilobytes(Path("/proc/self/status"), "VmRSS") or 0


def peak(device: torch.device) -> int:
    """The most bytes in use since `start_of_peak`; of a process since it began (0 if unknown)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return _kilobytes(Path("/proc/self/status"), "VmHWM") or 0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _kilobytes(file: Path, name: str) -> int | None:
    """A quantity in bytes that Linux shows in kilobytes; None on other systems."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(name)), None)
