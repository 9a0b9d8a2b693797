"""Which of several points with two losses no other beats in both at once: the Pareto front."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def front(losses: npt.ArrayLike) -> list[int]:
    """The places of the points that no other beats.

    A point is beaten by one that is at least as good in both losses and better in one. Of equal
    points all stay.

    Args:
        losses: `(n, 2)`, smaller is better, finite.

    Returns:
        places, the best in the first loss first, so that the last is the best in the second.

    Example:
        >>> front([[1.0, 3.0], [2.0, 2.0], [2.0, 1.0], [3.0, 1.0]])
        [0, 2]
    """
    points = np.asarray(losses, dtype=float).reshape(-1, 2)
    kept: list[int] = []
    for place in np.lexsort((points[:, 1], points[:, 0])):
        last = points[kept[-1]] if kept else None
        if last is None or points[place, 1] < last[1] or (points[place] == last).all():
            kept.append(int(place))
    return kept


def by_layers(losses: npt.ArrayLike, most: int) -> list[int]:
    """The places of the `most` best points: those of the front, then those of the front without
    them, and so on; within one in the order of the first loss.

    Example:
        >>> by_layers([[1.0, 3.0], [2.0, 2.0], [2.0, 1.0], [3.0, 1.0]], 3)
        [0, 2, 1]
    """
    points = np.asarray(losses, dtype=float).reshape(-1, 2)
    left, found = np.arange(len(points)), list[int]()
    while len(left) and len(found) < most:
        own = front(points[left])
        found += left[own].tolist()
        left = np.delete(left, own)
    return found[:most]
