"""Training: `fit` yields one report per epoch of a configuration and all its seeds."""

from __future__ import annotations

from cmir.method.training.fitting import fit

__all__ = ["fit"]
