"""The terms of the objective, one value per replica (Mai and Han 2026, Eq. 4-9)."""

from __future__ import annotations

from cmir.method.losses.constraints import decorrelation, invariance, reconstruction

__all__ = ["decorrelation", "invariance", "reconstruction"]
