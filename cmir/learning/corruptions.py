"""Damage to inputs and unimodal vectors, in rising severity; the same for every replica."""

from __future__ import annotations

import torch
from torch import Tensor

from cmir.learning.subject import Subject


def gaussian_noise(subject: Subject) -> Tensor:
    """eps ~ N(0, I) for the unimodal vectors of a block, `(modality, n, d)`."""
    vectors = subject.vectors
    noise = torch.randn(vectors.shape[1:], generator=subject.source("gaussian vectors"))
    return noise.to(vectors)
