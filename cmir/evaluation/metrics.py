"""The public names of the metrics, which are computed in `cmir.metrics`."""

from __future__ import annotations

from cmir.metrics.field_metrics import classification_metrics, regression_metrics

__all__ = ["classification_metrics", "regression_metrics"]
