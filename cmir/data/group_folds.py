"""Folds of samples that keep groups whole, for cross-validation over groups."""

from __future__ import annotations

import numpy as np


def folds_of(groups: np.ndarray, folds: int) -> np.ndarray:
    """The fold `(n,)` of each sample: whole groups, the largest first into the smallest fold.

    Example:
        >>> folds_of(np.array([7, 7, 7, 8, 8, 9]), folds=2)
        array([0, 0, 0, 1, 1, 1])
    """
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    filled, fold = np.zeros(folds, dtype=int), np.zeros(len(sizes), dtype=int)
    for group in np.argsort(-sizes, kind="stable"):
        fold[group] = filled.argmin()
        filled[fold[group]] += sizes[group]
    return np.asarray(fold[codes])
