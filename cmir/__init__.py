"""CmIR-Sweep: find, and prove, multimodal models that hold out of distribution.

The packages, each may import those before it: `metrics`, `data` (dataset folders), `method`
(networks, environments, losses, training), `evaluation`, `serving`, `space` (what a sweep may ask),
`runner` (study, Ray, MLflow), `registry`, `sweep`, `promotion`, `paper`, `ablation`.
"""

from __future__ import annotations

__version__ = "0.1.0"
