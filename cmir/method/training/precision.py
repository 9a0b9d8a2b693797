"""The precision of matrix products: what a device multiplies fastest, or full float32.

Weights, sums and everything but the factors of matrix products stay float32 in either case.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from cmir.config import Precision


@contextmanager
def products_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Inside, matrix products on the device have this precision.

    `reduced` rounds their factors: to TF32 (10 bits) on a GPU, to bfloat16 (7 bits) on a CPU.
    A device without such products computes in full.
    """
    if precision == "full":
        yield
        return
    backend, reduced = _backend(device)
    before = backend.fp32_precision
    backend.fp32_precision = reduced
    try:
        yield
    finally:
        backend.fp32_precision = before


def _backend(device: torch.device) -> tuple[Any, str]:
    """Where torch keeps the setting, and the name it has for what `reduced` means there."""
    if device.type == "cpu":
        return torch.backends.mkldnn.matmul, "bf16"  # type: ignore[attr-defined]
    return torch.backends.cuda.matmul, "tf32"
