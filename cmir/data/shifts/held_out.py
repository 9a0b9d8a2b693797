"""Out-of-distribution splits for a source that has none: whole groups are held out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

from cmir.data.manifest import DEVELOPMENT_SPLITS
from cmir.errors import InputError

LARGEST_SEED = 2**32 - 1
CLUSTER = "cluster"
CLUSTERS = 20
GROUPS_BY_DEFAULT = ("dialogue", "speaker", "video")
DRAWS = 64
ENOUGH_GROUPS = 10
FEWEST_GROUPS = 4
NO_GROUPS = ("id", "split", "raw_text", "text_bert")
OOD_SPLITS = ("ood_val", "ood_test")


def default_column(samples: pl.DataFrame) -> str:
    """The column to hold groups of out: dialogues, else speakers, else videos, if there are 10.

    Else clusters. Speakers meet in dialogues, and none of these may be cut.
    """
    for column in GROUPS_BY_DEFAULT:
        if column not in samples.columns or samples[column].null_count():
            continue
        if samples[column].n_unique() >= ENOUGH_GROUPS:
            return column
    return CLUSTER


def cluster_column(vectors: Iterable[npt.NDArray[np.float32]], *, seed: int) -> pl.Series:
    """Group samples by k-means on their standardised features.

    Args:
        vectors: for each modality `(N, D)`, sequences pooled over their valid steps; joined along
            the features, each feature standardised over all samples.
        seed: seed of k-means.

    Returns:
        A text column `cluster` with N values, 20 groups, fewer for fewer than 100 samples.
    """
    joined = np.concatenate(list(vectors), axis=1)
    standardised = StandardScaler().fit_transform(joined)
    # A long modality would otherwise drown a short one, and lone outliers become clusters.
    clipped = np.clip(standardised, -5.0, 5.0)
    count = max(FEWEST_GROUPS, min(CLUSTERS, len(joined) // 5))
    if len(joined) < count:
        raise InputError(f"{len(joined)} samples are too few to form {count} clusters.")
    ids = KMeans(count, n_init=3, random_state=seed).fit_predict(clipped)
    return pl.Series(CLUSTER, [f"{index:02d}" for index in ids])


def held_out(
    samples: pl.DataFrame,
    column: str,
    *,
    seed: int,
    share: float,
    strata: npt.NDArray[np.floating[Any]] | None = None,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Move whole groups to `ood_val` and `ood_test`, as far as these splits are not there yet.

    A held-out group lies in its one split and nowhere else; the other groups stay in the
    splits they were in. `ood_val` takes groups without a sample in `id_test` if these make up
    half of it at least, so that a sweep sees nothing of what the source held out.

    An `ood_test` that the source brings is never touched. If it was cut across the groups, as
    those that move single samples are, too few groups may be left without a sample in it; then
    `ood_val` takes any, and the samples they have in `ood_test` stay there.

    Args:
        samples: columns `id`, `split` and `column`.
        column: what tells the groups apart: speaker, video, cluster, ...
        seed: decides which groups are held out.
        share: of all samples, for each new split; a group is taken if that comes nearer to it.
        strata: `(n, C)`, which labels each sample has: of 64 choices the one is taken whose shares
            of labels come nearest to those of all samples. None: the first choice.

    Returns:
        The samples with new splits, and the record for `dataset.json`: scheme, column, seed,
        share, the groups of each new split and how many samples it took from which split.

    Raises:
        InputError: no such column, too few groups, or a split would be left empty.
    """
    check_choice(seed, share)
    _check_groups(samples, column)
    chosen: dict[str, list[str]] = {}
    for name in OOD_SPLITS:
        if name not in samples["split"]:
            taken = {group for groups in chosen.values() for group in groups}
            chosen[name] = _choose(samples, column, name, taken, seed, share, strata)
    is_free = ~pl.col("split").is_in([name for name in OOD_SPLITS if name not in chosen])
    new_split = pl.col("split")
    for name, groups in chosen.items():
        is_taken = is_free & pl.col(column).is_in(groups)
        new_split = pl.when(is_taken).then(pl.lit(name)).otherwise(new_split)
    moved = samples.with_columns(split=new_split)
    _check_left(moved, column, share)
    record = {"scheme": "held_out", "column": column, "seed": seed, "share": share}
    return moved, {**record, "groups": chosen, "taken_from": _origins(samples, moved, chosen)}


def check_choice(seed: int, share: float) -> None:
    """Refuse a seed or a share that cannot choose groups.

    Raises:
        InputError: the seed is negative or above 2^32 - 1, the share not between 0 and 0.5.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"--shift-seed must be 0 to {LARGEST_SEED}, but got {seed}.")
    if not 0.0 < share < 0.5:
        raise InputError(f"--shift-share must be above 0 and below 0.5, but got {share}.")


def _check_groups(samples: pl.DataFrame, column: str) -> None:
    if column not in samples.columns:
        raise InputError(
            f"--shift held_out:{column}: the source must have the column {column!r}, but has only "
            f"{', '.join(samples.columns)}. Use held_out:cluster."
        )
    if column in NO_GROUPS or samples.schema[column] != pl.String:
        raise InputError(
            f"--shift held_out:{column}: the column must tell groups of samples apart, such as "
            f"speaker or video, but {column!r} does not. Use held_out:cluster."
        )
    if samples[column].null_count():
        raise InputError(f"--shift held_out:{column}: some samples have no {column}.")
    count = samples[column].n_unique()
    if count < FEWEST_GROUPS:
        raise InputError(
            f"--shift held_out:{column}: there must be at least {FEWEST_GROUPS} groups, but there "
            f"are {count}. Use another column, or held_out:cluster."
        )


def _choose(
    samples: pl.DataFrame,
    column: str,
    name: str,
    taken: set[str],
    seed: int,
    share: float,
    strata: npt.NDArray[np.floating[Any]] | None,
) -> list[str]:
    given = pl.col("split").is_in(OOD_SPLITS)
    movable = samples.filter(~given)
    sizes = dict(movable.group_by(column).len().sort(column).iter_rows())
    target = share * samples.height
    free = sorted(set(sizes) - taken - set(samples.filter(given)[column].to_list()))
    if sum(sizes[group] for group in free) < target:
        free = sorted(set(sizes) - taken)
    rng = np.random.default_rng([seed, len(taken)])
    tested = set()
    if name == "ood_val":
        tested = set(samples.filter(pl.col("split") == "id_test")[column].to_list())

    def draw() -> list[str]:
        order = [free[index] for index in rng.permutation(len(free))]
        return _filled(order, sizes, target, tested if name == "ood_val" else None)

    if strata is None:
        return draw()
    choices = [draw() for _ in range(DRAWS)]
    is_movable = ~samples["split"].is_in(OOD_SPLITS).to_numpy()
    counts = _counts_by_group(movable, column, strata[is_movable])
    return min(choices, key=lambda groups: _imbalance(groups, counts, sizes, target))


def _filled(
    order: list[str], sizes: Mapping[str, int], target: float, tested: set[str] | None
) -> list[str]:
    if tested is not None:
        groups = fill([group for group in order if group not in tested], sizes, target)
        if sum(sizes[group] for group in groups) >= target / 2:
            return groups
    return fill(order, sizes, target) or sorted(order, key=lambda group: sizes[group])[:1]


def _counts_by_group(
    samples: pl.DataFrame, column: str, strata: npt.NDArray[np.floating[Any]]
) -> dict[str, npt.NDArray[np.floating[Any]]]:
    """How many samples of each group have each label, `(C,)`."""
    names = samples[column].to_numpy()
    return {name: strata[names == name].sum(axis=0) for name in np.unique(names.astype(str))}


def _imbalance(
    groups: list[str],
    counts: Mapping[str, npt.NDArray[np.floating[Any]]],
    sizes: Mapping[str, int],
    target: float,
) -> float:
    """How far labels are from being as frequent in the groups as in all, and size from the target.

    The sum of the differences in their shares, 1 for each label that the groups, or the rest, have
    not, and the relative difference in size.
    """
    held = np.sum([counts[group] for group in groups], axis=0)
    every = np.sum(list(counts.values()), axis=0)
    share = held / max(1.0, held.sum()) - every / every.sum()
    missing = ((held == 0) | (every - held == 0)) & (every > 0)
    size = sum(sizes[group] for group in groups)
    return float(np.abs(share).sum() + missing.sum() + abs(size - target) / target)


def fill(order: list[str], sizes: Mapping[str, int], target: float) -> list[str]:
    """Groups in this order, each taken if that brings their total nearer to the target."""
    total, groups = 0, []
    for group in order:
        if total + sizes[group] / 2 <= target:
            groups.append(group)
            total += sizes[group]
    return groups


def _check_left(moved: pl.DataFrame, column: str, share: float) -> None:
    present = set(moved["split"].to_list())
    empty = [name for name in DEVELOPMENT_SPLITS if name not in present]
    train = moved.filter(pl.col("split") == "train")
    if empty or train[column].n_unique() < 2:
        raise InputError(
            f"--shift held_out:{column}: holding out a share of {share} leaves "
            f"{' and '.join(empty) or 'train'} without enough groups. Use a smaller "
            "--shift-share, another --shift-seed or another column."
        )


def _origins(
    before: pl.DataFrame, after: pl.DataFrame, chosen: Mapping[str, list[str]]
) -> dict[str, dict[str, int]]:
    both = pl.DataFrame({"old": before["split"], "new": after["split"]})
    return {
        name: dict(both.filter(pl.col("new") == name).group_by("old").len().sort("old").iter_rows())
        for name in chosen
    }
