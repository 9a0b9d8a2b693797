"""The precision of matrix products: full float32, or what a device multiplies fastest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cmir.config import Precision


@contextmanager
def products_in(precision: Precision) -> Iterator[None]:
    """Inside, matrix products have this precision; weights, sums and all else stay float32.

    `reduced` rounds their factors: to TF32 (10 bits) on a GPU, to bfloat16 (7 bits) on a CPU.
    A device without such products computes in full.
    """
    before = torch.get_float32_matmul_precision()
    # torch's "medium" is the fastest that each kind of device has.
    torch.set_float32_matmul_precision("medium" if precision == "reduced" else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
