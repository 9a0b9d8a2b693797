"""Splits named by the user: which of the source's splits becomes which of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cmir.data.formats.mmsa_layout import SPLIT_NAMES
from cmir.data.manifest import SPLITS
from cmir.data.shifts.held_out import CLUSTER, default_column, fill
from cmir.data.shifts.word_bias import label_bins, label_matched
from cmir.errors import InputError

FORM = "given:train=train,id_val=valid,ood_val=train:0.05,id_test=test"


@dataclass(frozen=True)
class Part:
    """A split of the source, or a share of it; None: what the shares leave of it."""

    source: str
    share: float | None = None


def read_given(text: str) -> dict[str, tuple[Part, ...]]:
    """Reads `train=train+dev,ood_val=test:0.3,ood_test=test`: ours = theirs, or a share of theirs.

    Raises:
        InputError: it has another form.

    Example:
        >>> read_given("train=train,ood_val=train:0.1")["ood_val"]
        (Part(source='train', share=0.1),)
    """
    chosen: dict[str, tuple[Part, ...]] = {}
    for word in text.split(","):
        ours, _, theirs = word.partition("=")
        if ours not in SPLITS or not theirs or ours in chosen:
            raise InputError(
                f"--shift given: must name each of {', '.join(SPLITS)} at most once, as in {FORM}, "
                f"but got {word!r}."
            )
        chosen[ours] = tuple(_part(part) for part in theirs.split("+"))
    _check_parts([part for parts in chosen.values() for part in parts])
    return chosen


def given(
    samples: pl.DataFrame,
    chosen: Mapping[str, tuple[Part, ...]],
    *,
    limits: tuple[float, float] | None,
    seed: int,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Gives the splits of the source the names that were chosen for them.

    A share of a split takes whole speakers, or videos, where the split has 10 of them at least;
    else the same share of every label bin.

    Args:
        samples: columns `id`, `split` (as read) and `label`.
        chosen: from `read_given`.
        limits: scale of a regression label, None for classes.
        seed: of the shares.

    Returns:
        The samples with new splits, null where a sample lies in no split that was named; and the
        record for `dataset.json`.

    Raises:
        InputError: a split that the source does not have.
    """
    new = np.full(samples.height, "", object)
    old = samples["split"].to_numpy()
    shared_by: dict[str, str] = {}
    for is_share in (True, False):
        for ours, parts in chosen.items():
            for part in (part for part in parts if (part.share is not None) == is_share):
                rows = np.flatnonzero(old == _name(part.source, samples))
                if part.share is not None:
                    free = rows[new[rows] == ""]
                    target = part.share * len(rows)
                    rows, column = _share(samples[free], target, limits, [seed, len(shared_by)])
                    rows, shared_by[ours] = free[rows], column
                new[rows[new[rows] == ""]] = ours
    splits = [name or None for name in new]
    moved = samples.with_columns(split=pl.Series(splits, dtype=pl.String))
    left_out = samples.filter(moved["split"].is_null())["split"].value_counts(sort=True)
    return moved, {
        "scheme": "given",
        "splits": {ours: "+".join(map(_shown, parts)) for ours, parts in chosen.items()},
        "shared_by": shared_by,
        "left_out": dict(left_out.iter_rows()),
        "seed": seed,
    }


def _part(text: str) -> Part:
    source, colon, share = text.partition(":")
    if not colon:
        return Part(source)
    try:
        number = float(share)
    except ValueError:
        number = 0.0
    if not 0.0 < number < 1.0:
        raise InputError(
            f"--shift given: a share must be above 0 and below 1, as in {FORM}, but got {text!r}."
        )
    return Part(source, number)


def _check_parts(parts: list[Part]) -> None:
    whole = [part.source for part in parts if part.share is None]
    twice = sorted({name for name in whole if whole.count(name) > 1})
    if twice:
        raise InputError(
            f"--shift given: a split of the source must go to one place, but {', '.join(twice)} "
            f"goes to several. Give shares: {FORM}."
        )


def _name(theirs: str, samples: pl.DataFrame) -> str:
    """The name under which a split of the source was read."""
    present = set(samples["split"].to_list())
    name = theirs if theirs in present else SPLIT_NAMES.get(theirs.lower(), theirs)
    if name not in present:
        known = [their for their, ours in SPLIT_NAMES.items() if ours in present]
        raise InputError(
            f"--shift given: the source must have the split {theirs!r}, but has only splits "
            f"that can be named {', '.join(known)}."
        )
    return name


def _share(
    samples: pl.DataFrame, target: float, limits: tuple[float, float] | None, seed: list[int]
) -> tuple[np.ndarray, str]:
    """Rows `(n,)` of about as many samples as wanted, and what was kept whole among them."""
    rng = np.random.default_rng(seed)
    column = default_column(samples)
    if column == CLUSTER:
        labels = samples["label"]
        values = np.array(labels.to_list()) if labels.dtype == pl.List else labels.to_numpy()
        bins = label_bins(values, limits)
        share = target / max(1, samples.height)
        return np.flatnonzero(label_matched(bins, share, rng)), "label"
    sizes = dict(samples.group_by(column).len().sort(column).iter_rows())
    names = list(sizes)
    order = [names[index] for index in rng.permutation(len(names))]
    groups = fill(order, sizes, target) or [min(order, key=lambda name: sizes[name])]
    return np.flatnonzero(samples[column].is_in(groups).to_numpy()), column


def _shown(part: Part) -> str:
    return part.source if part.share is None else f"{part.source}:{part.share:g}"
