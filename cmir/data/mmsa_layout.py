"""The field's common layout, `{split: {key: values}}`, as a table of samples and features."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from cmir.data.features import FloatArray, row_blocks
from cmir.data.manifest import Task, check_modality_name
from cmir.data.mmsa_columns import (
    ID_GLUE,
    Split,
    find_label_key,
    find_task,
    joined,
    read_ids,
    read_lengths,
    read_numbers,
    read_text_columns,
)
from cmir.data.samples import usual_range
from cmir.errors import InputError

SPLIT_NAMES = {
    "train": "train",
    "valid": "id_val",
    "dev": "id_val",
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
EXPECTED_MODALITIES = frozenset({"text", "audio", "vision"})

_NEVER_FEATURES = re.compile(
    r"id|raw_text|text_bert|annotations|(regression_|classification_)?labels?(_.*)?|.*_lengths"
)

LabelRange = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Source:
    """What a feature file holds, before out-of-distribution splits are made.

    Attributes:
        samples: columns `id`, `split`, `label`, then lengths, environments and text, N rows.
        parts: for each modality its arrays of the splits, in the order of the rows.
        task: "regression" or "binary".
        label_range: the scale of a regression label, None where it is not a usual one.
        left_out: keys of the file that did not become part of the dataset.
        notes: what a reader of the data card should know.
    """

    samples: pl.DataFrame
    parts: Mapping[str, tuple[FloatArray, ...]]
    task: Task
    label_range: LabelRange | None
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def blocks(self, modality: str) -> Iterator[FloatArray]:
        """The features of one modality, some rows at a time: float16 or float32."""
        parts = self.parts[modality]
        dtype = np.float16 if all(part.dtype == np.float16 for part in parts) else np.float32
        for part in parts:
            for rows in row_blocks(part.shape):
                with np.errstate(over="ignore"):
                    yield part[rows].astype(dtype, copy=False)


def assemble(
    content: object, where: str, *, label: str | None = None, task: Task | None = None
) -> Source:
    """Turn `{split: {key: values}}` into samples and features.

    Every floating-point array `(N, T, D)` or `(N, D)` under a key that is no label, id or
    length is a modality; `(N, 1, D)` is stored as vectors. An id `video$_$clip` gives the
    environment column `video`. Without `<modality>_lengths` every step is valid.

    Args:
        content: what the file holds.
        where: the file named in messages.
        label: the key of the label; by default the first of `LABEL_KEYS` that is there.
        task: by default "binary" if all labels are 0 or 1, else "regression".

    Raises:
        InputError: the layout is another one, or its parts do not fit together.
    """
    splits = _splits(content, where)
    ids = {name: read_ids(split, f"{where}: {name}") for name, split in splits.items()}
    parts = _modalities(splits, ids, where)
    key = label or find_label_key(splits["train"], where)
    labels = np.concatenate(
        [read_numbers(splits[own], key, len(ids[own]), f"{where}: {own}") for own in splits]
    )
    found_task = task or find_task(labels, key, where)
    texts = read_text_columns(splits, ids, parts, where)
    names = [name for name, own in ids.items() for _ in own]
    samples = pl.DataFrame({"id": joined(ids), "split": names}).with_columns(
        pl.Series("label", labels.astype(np.float32)),
        *read_lengths(splits, ids, parts, where),
        *texts,
    )
    used = {"id", key, *parts, *(f"{name}_lengths" for name in parts)}
    used |= {column.name for column in texts}
    return Source(
        samples=samples,
        parts=parts,
        task=found_task,
        label_range=usual_range(labels) if found_task == "regression" else None,
        left_out=tuple(sorted({str(name) for own in splits.values() for name in own} - used)),
        notes=_notes(parts, samples),
    )


def _splits(content: object, where: str) -> dict[str, Split]:
    if not isinstance(content, Mapping) or not content:
        raise InputError(
            f"{where}: must hold a dict {{split: {{key: array}}}}, but holds "
            f"{type(content).__name__}. For another layout write an .npz file."
        )
    unknown = sorted(str(name) for name in content if str(name).lower() not in SPLIT_NAMES)
    if unknown:
        raise InputError(
            f"{where}: the splits must be named {', '.join(SPLIT_NAMES)}, but got "
            f"{', '.join(unknown)}. Rename them."
        )
    splits: dict[str, Split] = {}
    for name, split in content.items():
        ours = SPLIT_NAMES[str(name).lower()]
        if ours in splits:
            raise InputError(f"{where}: two splits mean {ours}, the second is {name}. Rename it.")
        if not isinstance(split, Mapping):
            raise InputError(
                f"{where}: {name} must be a dict of arrays, but is {type(split).__name__}."
            )
        splits[ours] = split
    for needed, names in (("train", "train"), ("id_val", "valid or dev")):
        if needed not in splits:
            raise InputError(
                f"{where}: there must be a split named {names}, but there are only "
                f"{', '.join(str(name) for name in content)}."
            )
    return splits


def _modalities(
    splits: Mapping[str, Split], ids: Mapping[str, list[str]], where: str
) -> dict[str, tuple[FloatArray, ...]]:
    named = {split: _feature_keys(splits[split], len(ids[split])) for split in splits}
    wanted = sorted(named["train"] | {k for k in EXPECTED_MODALITIES if k in splits["train"]})
    if not wanted:
        raise InputError(
            f"{where}: train must hold a modality, a floating-point array of shape (N, T, D) or "
            f"(N, D), but holds none among {', '.join(str(key) for key in splits['train'])}."
        )
    found = {}
    for key in wanted:
        check_modality_name(key, where)
        parts = [_features(splits[name], key, len(ids[name]), f"{where}: {name}") for name in ids]
        found[key] = _as_vectors_if_single_step(_same_shape(parts, list(ids), key, where))
    for split, keys in named.items():
        if keys - set(wanted):
            raise InputError(
                f"{where}: every split must have the same modalities, but {split} also has "
                f"{', '.join(sorted(keys - set(wanted)))}."
            )
    return found


def _feature_keys(split: Split, count: int) -> set[str]:
    return {
        str(key)
        for key, value in split.items()
        if isinstance(value, np.ndarray)
        and value.dtype.kind == "f"
        and value.ndim in (2, 3)
        and len(value) == count
        and not _NEVER_FEATURES.fullmatch(str(key))
    }


def _features(split: Split, key: str, count: int, where: str) -> FloatArray:
    value = split.get(key)
    if value is None:
        raise InputError(f"{where}: must have the modality {key!r}, as train has, but has not.")
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.ndim not in (2, 3):
        kind = (
            f"{value.dtype} {value.shape}"
            if isinstance(value, np.ndarray)
            else type(value).__name__
        )
        raise InputError(
            f"{where}: {key} must be a floating-point array of shape (N, T, D) or (N, D), but "
            f"is {kind}."
        )
    if len(value) != count:
        raise InputError(
            f"{where}: {key} must have {count} rows, one for each id, but has {len(value)}."
        )
    return value


def _same_shape(
    parts: list[FloatArray], names: list[str], key: str, where: str
) -> list[FloatArray]:
    for part, name in zip(parts, names, strict=True):
        if part.shape[1:] != parts[0].shape[1:] or 0 in part.shape:
            raise InputError(
                f"{where}: {key} must have rows of one shape in every split, but they are "
                f"{parts[0].shape[1:]} in {names[0]} and {part.shape[1:]} in {name}. "
                "Pad or cut them to one number of steps."
            )
    return parts


def _as_vectors_if_single_step(parts: list[FloatArray]) -> tuple[FloatArray, ...]:
    if parts[0].ndim == 3 and parts[0].shape[1] == 1:
        return tuple(part[:, 0, :] for part in parts)
    return tuple(parts)


def _notes(
    modalities: Mapping[str, tuple[FloatArray, ...]], samples: pl.DataFrame
) -> tuple[str, ...]:
    unmeasured = [
        name
        for name, parts in modalities.items()
        if parts[0].ndim == 3 and f"{name}_length" not in samples.columns
    ]
    notes = [f"{name}: no lengths in the source, every step counts as valid" for name in unmeasured]
    if "video" not in samples.columns:
        notes.append(f"no video column: not every id has the form video{ID_GLUE}clip")
    return tuple(notes)
