"""Dataset folders: read, written, checked; what a sweep may see and what it may not."""

from __future__ import annotations

from cmir.data.dataset import (
    DevelopmentData,
    HeldoutData,
    MultimodalDataset,
    SplitData,
    load_dataset,
)
from cmir.data.modality import Modality
from cmir.data.writing import write_dataset

__all__ = [
    "DevelopmentData",
    "HeldoutData",
    "Modality",
    "MultimodalDataset",
    "SplitData",
    "load_dataset",
    "write_dataset",
]
