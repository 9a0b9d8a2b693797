"""The option `--shift SCHEME`: from a source's samples to samples in our five splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data.formats.mmsa_layout import LEFT_OUT, OTHERS, SPLIT_NAMES
from cmir.data.formats.origin import origin_of
from cmir.data.formats.source import Source
from cmir.data.label_checks import label_values
from cmir.data.row_blocks import FloatArray, pool
from cmir.data.samples import read_lengths
from cmir.data.shifts.cross_dataset import crossed
from cmir.data.shifts.given_splits import given, read_given
from cmir.data.shifts.held_out import (
    CLUSTER,
    check_choice,
    cluster_column,
    default_column,
    held_out,
)
from cmir.data.shifts.split_index import indexed
from cmir.data.shifts.word_bias import word_bias
from cmir.errors import InputError

Read = Callable[[Sequence[Path]], Source]
Made = tuple[Source, pl.DataFrame, dict[str, Any]]

FORMS = (
    "held_out:<column>, held_out:cluster, word_bias, word_bias:<contrast>, "
    "given:<split>=<their split>,..., index:<file>, cross:<file> or none"
)


@dataclass(frozen=True)
class ShiftRequest:
    """What the command line asks for; `scheme` None: what the source brings, else held out groups.

    Attributes:
        scheme: a key of `SCHEMES`.
        detail: what stands behind its colon.
        seed: of every draw.
        share: of the samples in each split that is made.
    """

    scheme: str | None
    detail: str
    seed: int
    share: float


@dataclass(frozen=True, eq=False)
class ShiftedSource:
    """A source with our splits.

    Attributes:
        source: its features, rows that are left out included.
        samples: of the rows that stay.
        kept: `(N,)`, True where a row of the source stays.
        record: of the shift, for `dataset.json`.
    """

    source: Source
    samples: pl.DataFrame
    kept: npt.NDArray[np.bool_]
    record: Mapping[str, Any]

    def blocks(self, modality: str) -> Iterator[FloatArray]:
        """The features of one modality, row by row those of `samples`."""
        row = 0
        for block in self.source.blocks(modality):
            kept = self.kept[row : row + len(block)]
            row += len(block)
            if kept.all():
                yield block
            elif kept.any():
                yield block[kept]


def read_shift(text: str | None, seed: int, share: float) -> ShiftRequest:
    """Reads `--shift`, without looking at the data.

    Raises:
        InputError: no such scheme, or a seed or share that cannot be used.
    """
    check_choice(seed, share)
    if text is None:
        return ShiftRequest(None, "", seed, share)
    scheme, _, detail = text.partition(":")
    needs_detail = scheme in ("held_out", "given", "index", "cross")
    if scheme not in SCHEMES or (needs_detail and not detail) or (scheme == "none" and detail):
        raise InputError(f"--shift must be {FORMS}, but got {text!r}.")
    request = ShiftRequest(scheme, detail, seed, share)
    if scheme == "given":
        read_given(detail)
    if scheme == "word_bias":
        _target(request)
    return request


def named_splits(request: ShiftRequest) -> dict[str, str]:
    """Meanings for the splits of a source: `given` reads those that it names, and no others."""
    if request.scheme != "given":
        return {}
    parts = [part for parts in read_given(request.detail).values() for part in parts]
    own = {part.source for part in parts if part.source.lower() not in SPLIT_NAMES}
    return {name: name for name in sorted(own)} | {OTHERS: LEFT_OUT}


def make_shift(source: Source, request: ShiftRequest, read: Read) -> ShiftedSource:
    """Puts every sample into one of our splits, or leaves it out.

    Args:
        source: as read.
        request: from `read_shift`.
        read: reads other feature files in the same way.

    Raises:
        InputError: the shift cannot be made from this source.
    """
    scheme = request.scheme or ("none" if "ood_val" in source.samples["split"] else "held_out")
    source, samples, record = SCHEMES[scheme](source, request, read)
    kept = samples["split"].is_not_null()
    _check_dialogues(samples.filter(kept))
    return ShiftedSource(source, samples.filter(kept), kept.to_numpy(), record)


def _check_dialogues(samples: pl.DataFrame) -> None:
    """Refuse a dialogue in two splits: what is said in it is answered in the other."""
    if "dialogue" not in samples.columns:
        return
    splits = samples.drop_nulls("dialogue").group_by("dialogue").agg(pl.col("split").n_unique())
    cut = splits.filter(pl.col("split") > 1)["dialogue"].sort()
    if len(cut):
        raise InputError(
            f"--shift: no split may cut a dialogue, but {len(cut)} would lie in two, such as "
            f"{cut[0]!r}. Hold out whole ones: --shift held_out:dialogue, or held_out:session."
        )


def _none(source: Source, request: ShiftRequest, read: Read) -> Made:
    if "ood_val" not in source.samples["split"]:
        raise InputError(
            "--shift none: a sweep needs an out-of-distribution validation split, and the source "
            "brings none. Use --shift held_out:<column> or held_out:cluster."
        )
    return source, source.samples, {"scheme": "given"}


def _held_out(source: Source, request: ShiftRequest, read: Read) -> Made:
    samples = source.samples
    if "ood_val" in samples["split"]:
        raise InputError(
            f"--shift held_out:{request.detail}: the source brings an out-of-distribution "
            "validation split. Leave --shift out to keep it."
        )
    column = request.detail or default_column(samples)
    if column == CLUSTER and CLUSTER not in samples.columns:
        vectors = (_pooled(source, key) for key in source.parts)
        samples = samples.with_columns(cluster_column(vectors, seed=request.seed))
    strata = _strata(source)
    made = held_out(samples, column, seed=request.seed, share=request.share, strata=strata)
    return source, *made


def _word_bias(source: Source, request: ShiftRequest, read: Read) -> Made:
    if source.task.is_named:
        raise InputError(
            f"--shift word_bias: labels must be a scale or two classes, 0 and 1, for words to go "
            f"with, but this is {source.task}. Hold out groups instead: held_out:<column>."
        )
    made = word_bias(
        source.samples,
        limits=_limits(source),
        seed=request.seed,
        share=request.share,
        target=_target(request),
    )
    return source, *made


def _given(source: Source, request: ShiftRequest, read: Read) -> Made:
    chosen = read_given(request.detail)
    return source, *given(source.samples, chosen, limits=_limits(source), seed=request.seed)


def _index(source: Source, request: ShiftRequest, read: Read) -> Made:
    return source, *indexed(source.samples, Path(request.detail))


def _cross(source: Source, request: ShiftRequest, read: Read) -> Made:
    path = Path(request.detail)
    joined, record = crossed(source, read([path]), path.stem)
    origin, _ = origin_of([path], lambda what, done, total: None)
    return joined, joined.samples, record | origin


SCHEMES: Mapping[str, Callable[[Source, ShiftRequest, Read], Made]] = {
    "none": _none,
    "held_out": _held_out,
    "word_bias": _word_bias,
    "given": _given,
    "index": _index,
    "cross": _cross,
}


def _strata(source: Source) -> npt.NDArray[np.float32] | None:
    """Which names each sample has, `(n, C)`; None of a scale, and of classes 0 and 1."""
    if not source.task.is_named:
        return None
    labels = label_values(source.samples["label"], source.task)
    if labels.ndim == 2:
        return labels
    return np.eye(source.task.outputs, dtype=np.float32)[labels.astype(np.int64)]


def _target(request: ShiftRequest) -> float | None:
    if not request.detail:
        return None
    try:
        target = float(request.detail)
    except ValueError:
        target = 0.0
    if not target > 0.0:
        raise InputError(
            "--shift word_bias:<contrast>: the contrast to stop at must be a number above 0, but "
            f"got {request.detail!r}."
        )
    return target


def _limits(source: Source) -> tuple[float, float] | None:
    """The scale within which labels are binned, None for classes."""
    if source.task.kind != "regression":
        return None
    labels = source.samples["label"].to_numpy()
    return source.task.label_range or (float(labels.min()), float(labels.max()))


def _pooled(source: Source, key: str) -> npt.NDArray[np.float32]:
    first = source.parts[key][0]
    lengths = read_lengths(source.samples, key, first.shape, "samples")
    vectors: list[FloatArray] = []
    row = 0
    for block in source.blocks(key):
        finite = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
        stop = row + len(block)
        vectors.append(finite if lengths is None else pool(finite, lengths[row:stop]))
        row = stop
    return np.concatenate(vectors).astype(np.float32)
