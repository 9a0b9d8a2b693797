"""The field's common layout, `{split: {key: values}}`, as a table of samples and features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from cmir.data.formats.inspection.class_labels import LabelRequest, Labels
from cmir.data.formats.inspection.labels import read_labels
from cmir.data.formats.inspection.layouts import other_reader
from cmir.data.formats.inspection.sample_ids import ID_GLUE, read_ids
from cmir.data.formats.inspection.texts import text_of
from cmir.data.formats.inspection.token_ids import with_named_tokens
from cmir.data.formats.mmsa_columns import (
    UNIMODAL_LABELS,
    Split,
    find_label_key,
    joined,
    read_text_columns,
    read_unimodal_labels,
)
from cmir.data.formats.mmsa_features import read_modalities, told_absent_in, with_rows
from cmir.data.formats.mmsa_lengths import Measured, measured
from cmir.data.formats.source import Source
from cmir.data.label_checks import check_ids_and_labels
from cmir.data.manifest import SPLITS
from cmir.data.task import TaskKind
from cmir.errors import InputError

SPLIT_NAMES = {
    "train": "train",
    "valid": "id_val",
    "dev": "id_val",
    "val": "id_val",
    "validation": "id_val",
    "id_val": "id_val",
    "test": "id_test",
    "test_iid": "id_test",
    "id_test": "id_test",
    "ood_valid": "ood_val",
    "ood_dev": "ood_val",
    "ood_val": "ood_val",
    "ood_test": "ood_test",
    "test_ood": "ood_test",
}

# What `--split NAME=none` says; and the name that stands for all splits without a meaning.
LEFT_OUT = "none"
OTHERS = "*"


def assemble(
    content: object,
    where: str,
    *,
    label: str | None = None,
    task: TaskKind | None = None,
    names: Sequence[str] = (),
    threshold: float | None = None,
    splits: Mapping[str, str] | None = None,
    columns: Sequence[str] = (),
) -> Source:
    """Turn `{split: {key: values}}` into samples and features.

    Every floating-point array `(N, T, D)` or `(N, D)` under a key that is no label, id or
    length is a modality; `(N, 1, D)` is stored as vectors; a list of arrays `(t_i, D)` is padded,
    and few odd samples in it are absent.
    Ids that tell a video, such as `video$_$clip`, give the environment column `video`. Which
    steps of a sequence count follows from `<modality>_lengths` and from its content, see
    `mmsa_lengths.measured`.

    Args:
        content: what the file holds.
        where: the file named in messages.
        label: the key of the label; by default the first of `LABEL_KEYS` that is there.
        task: its kind; by default what the labels mean.
        names: of classes in the order of their numbers, or of columns of labels.
        threshold: intensities above it are labels that hold.
        splits: further names of splits and which of ours they mean, before `SPLIT_NAMES`.
        columns: further keys that hold an environment, one text for each sample.

    Raises:
        InputError: the layout is another one, or its parts do not fit together.
    """
    found = _splits(content, where, splits or {})
    named = read_ids(found, where)
    ids = named.ids
    found = {name: with_rows(split, ids[name], f"{where}: {name}") for name, split in found.items()}
    content_splits, tokens = with_named_tokens(found)
    found = dict(content_splits)
    modalities = {
        name: measured(name, found, ids, parts, where)
        for name, parts in read_modalities(found, ids, where).items()
    }
    parts = {name: modality.parts for name, modality in modalities.items()}
    key = label or find_label_key(found["train"], where)
    asked = LabelRequest(task, tuple(names), threshold)
    labels = read_labels(found, ids, key, asked, where)
    texts = read_text_columns(found, named, parts, where, columns)
    names = [name for name, own in ids.items() for _ in own]
    samples = pl.DataFrame({"id": joined(ids), "split": names}).with_columns(
        label_column(labels),
        *(column for m in modalities.values() if (column := m.lengths) is not None),
        *read_unimodal_labels(found, ids, key, where),
        *texts,
    )
    # Before a shift is made of them, which may take minutes.
    check_ids_and_labels(samples, where)
    used = {
        "id",
        key,
        key.rpartition(":")[0],
        *labels.keys,
        *parts,
        *(f"{name}_lengths" for name in parts),
    }
    used |= {column.name for column in texts}
    used |= {key for key, name in UNIMODAL_LABELS.items() if name in samples.columns}
    return Source(
        samples=samples,
        parts=parts,
        task=labels.task,
        left_out=(
            *sorted({name for own in found.values() for name in own} - used),
            *_splits_left_out(content, where, splits or {}),
        ),
        notes=(
            *named.notes,
            *labels.notes,
            *tokens,
            *told_absent_in(found, parts),
            *_notes(modalities, samples),
        ),
        warnings=tuple(w for m in modalities.values() if m.padding for w in m.padding.warnings),
        split_names=tuple(text_of(name) for name in content)
        if isinstance(content, Mapping)
        else (),
    )


def label_column(labels: Labels) -> pl.Series:
    """The column `label` of the samples: a number, or a list of them."""
    values = labels.values.astype(np.float32)
    dtype = pl.Float32 if values.ndim == 1 else pl.List(pl.Float32)
    return pl.Series("label", values if values.ndim == 1 else values.tolist(), dtype=dtype)


def split_meaning(name: str, where: str, splits: Mapping[str, str]) -> str | None:
    """Which of our splits a name means, in small or capital letters; None: it is left out.

    Raises:
        InputError: the name is unknown, or was given a meaning that is none of our splits.
    """
    meaning = splits.get(name) or SPLIT_NAMES.get(name.lower()) or splits.get(OTHERS)
    if meaning is None:
        raise InputError(
            f"{where}: the splits must be named {', '.join(SPLIT_NAMES)}, but got {name}. "
            f"Rename it, say what it means: --split {name}=train, or leave it out: "
            f"--split {name}={LEFT_OUT}."
        )
    if meaning == LEFT_OUT:
        return None
    # A shift that names splits of the source keeps them under their own names.
    if meaning not in SPLITS and not (meaning == name and OTHERS in splits):
        raise InputError(
            f"--split {name}={meaning}: must be one of {', '.join(SPLITS)}, or {LEFT_OUT}, but got "
            f"{meaning!r}."
        )
    return meaning


def _splits(content: object, where: str, given: Mapping[str, str]) -> dict[str, Split]:
    if not isinstance(content, Mapping) or not content:
        raise InputError(
            f"{where}: must hold a dict {{split: {{key: array}}}}, but holds "
            f"{type(content).__name__}.{other_reader(content) or ' Write an .npz file instead.'}"
        )
    splits: dict[str, Split] = {}
    for name, split in content.items():
        ours = split_meaning(text_of(name), where, given)
        if ours is None:
            continue
        if ours in splits:
            raise InputError(f"{where}: two splits mean {ours}, the second is {name}. Rename it.")
        if not isinstance(split, Mapping):
            raise InputError(
                f"{where}: {text_of(name)} must be a dict of arrays, but is "
                f"{type(split).__name__}.{other_reader(split)}"
            )
        splits[ours] = {text_of(key): value for key, value in split.items()}
    check_needed_splits(splits, [text_of(name) for name in content], where)
    return splits


def _splits_left_out(content: object, where: str, given: Mapping[str, str]) -> list[str]:
    names = [text_of(name) for name in content] if isinstance(content, Mapping) else []
    return [f"split {name}" for name in names if split_meaning(name, where, given) is None]


def check_needed_splits(splits: Mapping[str, object], names: Iterable[str], where: str) -> None:
    """Refuse a source without training or validation data.

    Raises:
        InputError: there is no `train` or no `id_val`.
    """
    for needed, usual in (("train", "train"), ("id_val", "valid or dev")):
        if needed not in splits:
            raise InputError(
                f"{where}: there must be a split named {usual}, but there are only "
                f"{', '.join(names)}."
            )


def _notes(modalities: Mapping[str, Measured], samples: pl.DataFrame) -> tuple[str, ...]:
    notes = []
    for name, modality in modalities.items():
        if modality.padding is not None and not modality.padding.is_known:
            notes.append(f"{name}: no lengths in the source, every step counts as valid")
        notes += modality.padding.notes if modality.padding else ()
    if "video" not in samples.columns:
        notes.append(f"no video column: not every id has the form video{ID_GLUE}clip")
    return tuple(notes)
