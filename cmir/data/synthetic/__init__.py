"""Data whose truth is known: a structural causal model, its design, and interventions on it."""

from __future__ import annotations

from cmir.data.synthetic.generation import generate

__all__ = ["generate"]
