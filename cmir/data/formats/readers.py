"""Feature files of the field, one reader for each kind of file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cmir.data.formats.dialogues.dialogue_layout import utterances
from cmir.data.formats.dialogues.intent_folder import clips
from cmir.data.formats.folder_layout import table_and_arrays
from cmir.data.formats.funny_files import read_funny
from cmir.data.formats.inspection.texts import text_of
from cmir.data.formats.mag_layout import word_samples
from cmir.data.formats.mmsa_layout import LEFT_OUT, SPLIT_NAMES, assemble, split_meaning
from cmir.data.formats.npz_file import mapped_arrays
from cmir.data.formats.pickles import safe_pickle
from cmir.data.formats.source import Source
from cmir.data.manifest import SPLITS
from cmir.data.task import TaskKind
from cmir.errors import InputError, nearest
from cmir.extensions import FILE_FORMATS, file_format

Splits = Mapping[str, str]
Names = tuple[str, ...]


@file_format("mmsa")
def mmsa(
    file: Path,
    *,
    label: str | None = None,
    task: TaskKind | None = None,
    names: Names = (),
    threshold: float | None = None,
    splits: Splits | None = None,
) -> Source:
    """Read a pickle in the layout of MMSA: `{split: {key: values}}`.

    Keys of a split, N samples: `id` ("video$_$clip"), `regression_labels` (or another of
    `LABEL_KEYS`), arrays `(N, T, D)` or `(N, D)` such as `text`, `audio`, `vision` or any other
    modality, or lists of N arrays `(t_i, D)`, `<modality>_lengths`, `raw_text`, `speaker`, the
    unimodal labels of CH-SIMS. Further keys are left out. Splits: `train`, `valid` or `dev`, and
    optionally `test`, `ood_valid`, `ood_test` (`SPLIT_NAMES`). In a folder `OOD_...`, as CIDer
    publishes its files, `test` is the out-of-distribution test set.

    Args:
        file: the pickle; it is read by `safe_pickle`, so nothing in it is executed.
        label: key of the label.
        task: "regression", "binary", "classes" or "multilabel"; found from the labels by default.
        names: of classes in the order of their numbers, or of columns of labels.
        threshold: intensities above it are labels that hold.
        splits: further names of splits and which of ours they mean.

    Raises:
        InputError: the file is no such pickle.
    """
    is_ood = any(part.upper().startswith("OOD_") for part in file.absolute().parts[:-1])
    meanings = {**({"test": "ood_test"} if is_ood else {}), **(splits or {})}
    content = safe_pickle.load(file)
    asked: dict[str, Any] = {"label": label, "task": task, "names": names, "threshold": threshold}
    source = assemble(content, str(file), splits=meanings, **asked)
    if is_ood and "ood_test" in source.samples["split"]:
        return _noted(source, "the file lies in a folder OOD_...: its test split is ood_test")
    return source


@file_format("npz")
def npz(
    file: Path,
    *,
    label: str | None = None,
    task: TaskKind | None = None,
    names: Names = (),
    threshold: float | None = None,
    splits: Splits | None = None,
) -> Source:
    """Read an .npz file whose keys are `<split>/<key>`, as in the layout of MMSA.

    Texts are unicode arrays, not object arrays: object arrays are pickles and are refused.
    The keys and splits are those of `mmsa`. To write one:

    >>> import tempfile
    >>> import numpy as np
    >>> file = Path(tempfile.mkdtemp()) / "features.npz"
    >>> audio = np.zeros((2, 5), np.float32)
    >>> splits = {
    ...     "train": {"id": ["a$_$1", "a$_$2"], "labels": [0.5, -2.0], "audio": audio},
    ...     "valid": {"id": ["b$_$1", "b$_$2"], "labels": [1.0, 0.0], "audio": audio},
    ... }
    >>> np.savez(file, **{f"{s}/{k}": v for s, keys in splits.items() for k, v in keys.items()})
    >>> npz(file).samples.select("id", "split", "label", "video").row(3)
    ('b$_$2', 'id_val', 0.0, 'b')

    Raises:
        InputError: the file is no such .npz file.
    """
    content = _nested(mapped_arrays(file), str(file))
    asked: dict[str, Any] = {"label": label, "task": task, "names": names, "threshold": threshold}
    return assemble(content, str(file), splits=splits, **asked)


@file_format("mag")
def mag(
    *paths: Path,
    task: TaskKind | None = None,
    splits: Splits | None = None,
) -> Source:
    """Read lists of samples `((words, visual, acoustic), label, segment)`, aligned by word.

    The layout of MAG-BERT and ITHP, one pickle `{"train" | "dev" | "test": [...]}`; and that of
    CLUE, one pickle with a list for each split, `train`, `dev`, `test_IID`, `test_OOD`. See
    `word_samples` for what becomes of the parts.

    Args:
        paths: one pickle, one pickle for each split, or a folder of the latter.
        task: "regression" or "binary"; found from the labels by default.
        splits: further names of splits and which of ours they mean.

    Raises:
        InputError: the files are no such pickles.
    """
    where = ", ".join(str(path) for path in paths)
    lists, left_out = _lists_of_splits(paths, splits or {}, where)
    lists = {
        name: own for name, own in lists.items() if (splits or {}).get(text_of(name)) != LEFT_OUT
    }
    source = assemble(word_samples(lists, where), where, task=task, splits=splits)
    notes = ["no language vectors in the source: the words are in raw_text"]
    return replace(_noted(source, *notes), left_out=(*source.left_out, *left_out))


@file_format("funny")
def funny(path: Path, *, splits: Splits | None = None, steps: int | None = None) -> Source:
    """Read UR-FUNNY or MUStARD: context and punchline joined along time, labels 0 and 1.

    - a pickle of HKT (`ur_funny.pkl`, `mustard.pkl`), which brings the humour-centric features
      as the modality `humour`;
    - a folder with the features of UR-FUNNY (`language_sdk.pkl`, `data_folds.pkl`, ...);
    - a pickle of MultiBench (`humor.pkl`, `sarcasm.pkl`), whose padding in front is removed.

    Args:
        path: the pickle or the folder.
        splits: further names of splits and which of ours they mean.
        steps: longest sequence; of a longer one the beginning of the context is cut off.

    Raises:
        InputError: the source has none of these layouts.
    """
    content, notes = read_funny(path, steps)
    return _noted(assemble(content, str(path), task="binary", splits=splits), *notes)


@file_format("folder")
def folder(
    path: Path,
    *,
    label: str | None = None,
    task: TaskKind | None = None,
    names: Names = (),
    threshold: float | None = None,
    splits: Splits | None = None,
) -> Source:
    """Read a folder made elsewhere: one table `*.parquet` or `*.csv`, one `<modality>.npy` each.

    The table has columns `id`, `split`, a label (one of `LABEL_KEYS`, or several `emotion_...`):
    numbers, names of classes, or lists of either. Optionally `<modality>_length`, `raw_text` and
    columns of text, which become environments. The arrays are `(N, T, D)` or `(N, D)` of any
    floating-point type.

    Raises:
        InputError: the folder has another content.
    """
    content, columns = table_and_arrays(path, label)
    asked: dict[str, Any] = {"label": label, "task": task, "names": names, "threshold": threshold}
    return assemble(content, str(path), splits=splits, columns=columns, **asked)


@file_format("dialogues")
def dialogues(
    file: Path,
    *,
    task: TaskKind | None = None,
    names: Names = (),
    splits: Splits | None = None,
) -> Source:
    """Read the features of IEMOCAP or MELD: a pickled tuple of dicts by dialogue.

    See `dialogue_tuples` for the layouts. The speaker and, of IEMOCAP, the session become
    environments; a dialogue lies in one split. Without validation dialogues in the source every
    tenth of training is taken.

    Args:
        file: the pickle.
        task: "classes" by default.
        names: of the classes in the order of their numbers; those of IEMOCAP and MELD are known.
        splits: further names of splits and which of ours they mean.

    Raises:
        InputError: the file is no such pickle.
    """
    content, known, notes = utterances(safe_pickle.load(file), str(file))
    own = names or known
    source = assemble(content, str(file), task=task or "classes", names=own, splits=splits)
    return _noted(source, *notes)


@file_format("mintrec")
def mintrec(folder: Path, *, names: Names = (), splits: Splits | None = None) -> Source:
    """Read the folder of MIntRec: `train.tsv`, `dev.tsv`, `test.tsv`, and features by clip.

    Args:
        folder: see `intent_folder.clips`.
        names: of the intents, in an order of their own.
        splits: further names of splits and which of ours they mean.

    Raises:
        InputError: the folder has another content.
    """
    return assemble(clips(folder), str(folder), task="classes", names=names, splits=splits)


def read_source(reader: str, paths: Sequence[Path], **options: Any) -> Source:
    """Read a source with one of the file formats.

    Args:
        reader: a name in `cmir.extensions.FILE_FORMATS`.
        paths: files or folders.
        options: keyword arguments of the reader; those that are None or empty are left out.

    Raises:
        InputError: an unknown format, an option or a number of files that it does not have, or a
            source that it cannot read.
    """
    if reader not in FILE_FORMATS:
        known = list(FILE_FORMATS)
        raise InputError(f"'{reader}' is no file format.{nearest(reader, known)}")
    chosen = FILE_FORMATS[reader]
    given = {name: value for name, value in options.items() if value not in (None, (), {}, "")}
    for name in sorted(set(given) - chosen.options):
        option = {"splits": "split"}.get(name, name)
        raise InputError(f"--{option}: means nothing to the reader {reader}. Leave it out.")
    if len(paths) > 1 and not chosen.takes_several:
        raise InputError(
            f"{', '.join(str(path) for path in paths)}: the reader {reader} takes one source, but "
            f"got {len(paths)}. Convert them one by one."
        )
    source = chosen.make(*paths, **given)
    if not isinstance(source, Source):
        raise InputError(
            f"the file format '{reader}' must give a {Source.__module__}.Source, but gave "
            f"{type(source).__name__}. Mend {chosen.module}."
        )
    return source


def _noted(source: Source, *notes: str) -> Source:
    return replace(source, notes=(*source.notes, *notes))


def _lists_of_splits(
    paths: Sequence[Path], splits: Splits, where: str
) -> tuple[dict[str, object], tuple[str, ...]]:
    files = [
        file for path in paths for file in (sorted(path.glob("*")) if path.is_dir() else [path])
    ]
    named = {
        file.stem: file
        for file in files
        if file.suffix in (".pkl", ".pickle")
        and (file.stem in splits or file.stem.lower() in SPLIT_NAMES)
    }
    if len(paths) == 1 and not paths[0].is_dir():
        content = safe_pickle.load(paths[0])
        if isinstance(content, Mapping):
            return dict(content), ()
        if not named:
            raise InputError(
                f"{paths[0]}: must hold a dict of splits, or be one of several files named by "
                f"their split, but holds {type(content).__name__}."
            )
    left_out = tuple(file.name for file in files if file not in named.values())
    if any(not path.is_dir() and path.name in left_out for path in paths) or not named:
        raise InputError(
            f"{', '.join(left_out) or paths[0]}: a file must be named by its split, "
            f"{', '.join(SPLIT_NAMES)}, with the ending .pkl. Rename it."
        )
    found = {stem: split_meaning(stem, where, splits) for stem in named}
    order = sorted(found, key=lambda stem: [*SPLITS, found[stem]].index(found[stem]))
    return {stem: safe_pickle.load(named[stem]) for stem in order}, left_out


def _nested(arrays: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    splits: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        split, slash, key = name.partition("/")
        if not slash or not key:
            raise InputError(
                f"{where}: keys must have the form <split>/<key>, such as train/audio, but got "
                f"{name!r}."
            )
        splits.setdefault(split, {})[key] = array
    return splits
