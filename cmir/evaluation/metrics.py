"""The public door to the metrics, which live in `cmir.metrics`, below all that uses them."""

from __future__ import annotations

from cmir.metrics.field_metrics import classification_metrics, regression_metrics

__all__ = ["classification_metrics", "regression_metrics"]
