"""Test-time adaptation without labels: features standardised by the target's own statistics.

The mean and the deviation of each feature are those of the split that is predicted, in place of the
training's (the statistics of batch normalisation, Li et al. 2017, "AdaBN", on the inputs of a
network that has none). It sees all unlabelled samples of the target at once, and says so.
"""

from __future__ import annotations

from dataclasses import replace

from cmir.data import DevelopmentData, HeldoutData, SplitData
from cmir.data.row_blocks import moments_of_rows

Data = DevelopmentData | HeldoutData


def aligned(data: Data, split: SplitData) -> Data:
    """The data with every modality standardised by a split's own mean and deviation."""
    modalities = {}
    for name, one in data.modalities.items():
        moments = moments_of_rows(one.array, one.lengths, split.rows)
        modalities[name] = replace(one, mean=moments.mean, std=moments.std)
    return replace(data, modalities=modalities)
