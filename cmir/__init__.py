"""CmIR-Sweep: find, and prove, multimodal models that hold out of distribution.

The rooms, and the one way imports go: `data` (dataset folders), `learning` (the model, its losses,
its metrics), `sweep` (the search), `promotion` (held-out evidence and the registry).
"""

from __future__ import annotations

__version__ = "0.1.0"
