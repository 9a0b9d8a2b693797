"""Picture of whether the probabilities of a binary model are calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from cmir.sweep.plot_axes import GREY, SCHEME_STYLES, dress, empty_figure

BINS = 10


class Curve(NamedTuple):
    """The bins that hold a sample: mean probability, share of class 1, number of samples."""

    probability: npt.NDArray[np.float64]
    share: npt.NDArray[np.float64]
    samples: npt.NDArray[np.int64]


def reliability_curve(probability: npt.NDArray[np.float64], labels: npt.ArrayLike) -> Curve:
    """Share of class 1 in bins of equal width (Murphy and Winkler 1977).

    Args:
        probability: `(n,)`, of class 1.
        labels: `(n,)`, 0 or 1.

    Example:
        >>> reliability_curve(np.array([0.1, 0.2, 0.95]), [0, 0, 1]).samples.tolist()
        [1, 1, 1]
    """
    place = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    present = count > 0
    sums = [
        np.bincount(place, weights=np.asarray(values, np.float64), minlength=BINS)
        for values in (probability, labels)
    ]
    mean, share = (total[present] / count[present] for total in sums)
    return Curve(mean, share, count[present])


def reliability_picture(curves: Mapping[str, Curve]) -> Figure:
    """Share of class 1 over the probability, one curve for each split; the area is the count."""
    figure = empty_figure(5.2, 5.0, "Reliability")
    axes = figure.subplots()
    dress(axes)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="calibrated")
    for (name, curve), (colour, _) in zip(curves.items(), SCHEME_STYLES, strict=False):
        axes.plot(curve.probability, curve.share, color=colour, linewidth=1.2, label=name)
        size = 200 * curve.samples / max(1, curve.samples.max())
        axes.scatter(curve.probability, curve.share, s=size, color=colour, alpha=0.6)
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    axes.set_xlabel("probability of class 1 (mean over the seeds)", fontsize=9)
    axes.set_ylabel("share of class 1", fontsize=9)
    axes.legend(frameon=False, fontsize=9)
    return figure
