"""Keeps MLflow's hints and progress bars away from the terminal."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def in_silence() -> Iterator[None]:
    """No hints and no progress bars inside."""
    bar = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
    before = os.environ.get(bar)
    os.environ[bar] = before or "false"
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        yield
    finally:
        if before is None:
            del os.environ[bar]
