"""CmIR-Sweep: find, and prove, multimodal models that hold out of distribution.

The packages, each may import those before it: `metrics`, `data` (dataset folders), `method`
(networks, environments, losses, training), `evaluation`, `serving`, `space` (what a sweep may ask),
`runner` (study, Ray, MLflow), `registry`, `sweep`, `promotion`, `paper`, `ablation`, `rivals`,
`commands`.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# What `import cmir` offers, and where it is; imported when it is asked for, as it takes seconds.
OFFERED = {
    "promote": "cmir.commands.from_python",
    "load": "cmir.commands.from_python",
    "load_dataset": "cmir.data",
    "write_dataset": "cmir.data",
    "fit": "cmir.method.training.fitting",
    "TrialConfig": "cmir.config",
}


def __getattr__(name: str) -> Any:
    """`cmir.sweep`, which is called, and what `OFFERED` names."""
    if name == "sweep":
        return importlib.import_module("cmir.sweep")
    if name not in OFFERED:
        raise AttributeError(f"module 'cmir' has no attribute '{name}'")
    return getattr(importlib.import_module(OFFERED[name]), name)


def __dir__() -> list[str]:
    """For completion."""
    return sorted([*globals(), "sweep", *OFFERED])
