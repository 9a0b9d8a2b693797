"""What a bootstrap resamples as a whole: the people, films or rooms that samples come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cmir.data import SplitData

# People before what was recorded of them; an environment is one draw of many people.
CLUSTER_COLUMNS = ("speaker", "video", "source", "environment")


@dataclass(frozen=True)
class ResampledGroups:
    """What is resampled as a whole.

    Attributes:
        codes: `(n,)` group of each sample, from 0.
        what: the column that names them, or `sample`.
    """

    codes: npt.NDArray[np.int64]
    what: str

    @property
    def number(self) -> int:
        """How many groups there are."""
        return int(self.codes.max()) + 1


def resampled_groups(split: SplitData) -> ResampledGroups:
    """The groups of a split: the first of speaker, video, source, environment with two values.

    Unlike `evaluation_groups` it pools no small ones: pooled, speakers with few samples would
    become one large group, as if they were one person. Environments come last: a split often has
    one or three of them, from which no interval follows, and each holds many speakers. Without
    such a column every sample is its own group.
    """
    for column in CLUSTER_COLUMNS:
        if column in split.samples.columns and split.samples[column].n_unique() >= 2:
            codes = np.unique(split.named(column), return_inverse=True)[1].astype(np.int64)
            return ResampledGroups(codes, column)
    return ResampledGroups(np.arange(len(split), dtype=np.int64), "sample")
