"""The data card as text for a terminal or a log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cmir.data.cards.card import DataCard, LabelCard
from cmir.data.manifest import SPLITS
from cmir.data.task import Task

BARS = " ▁▂▃▄▅▆▇█"


def render(card: DataCard) -> str:
    """The card as text, one fact a line."""
    parts = [
        _title(card),
        *_origin_lines(card),
        "",
        *_split_lines(card),
        *_group_lines(card),
        "",
        *_modality_lines(card),
        "",
        *_strength_lines(card),
        "",
        f"checksum {card.checksum}",
        *(f"WARNING: {warning}" for warning in card.warnings),
    ]
    return "\n".join(parts)


def _title(card: DataCard) -> str:
    return f"{card.name}: {card.task}, {sum(card.sizes.values())} samples"


def _origin_lines(card: DataCard) -> list[str]:
    source, lines = card.source, []
    if source:
        digest = str(source.get("sha256", ""))[:16]
        lines.append(f"source   {source.get('file')} ({source.get('reader')}), sha256 {digest}")
    if source.get("left_out"):
        lines.append(f"left out {', '.join(source['left_out'])}")
    lines += [f"note     {note}" for note in source.get("notes", [])]
    return [*lines, f"shift    {_shift_text(card.shift)}"]


def _shift_text(shift: Mapping[str, Any]) -> str:
    scheme = shift.get("scheme", "not recorded")
    return SHIFT_TEXTS[scheme](shift) if scheme in SHIFT_TEXTS else str(scheme)


def _given_text(shift: Mapping[str, Any]) -> str:
    if "splits" not in shift:
        return "the splits of the source"
    splits = shift["splits"]
    named = ", ".join(f"{name} = {splits[name]}" for name in SPLITS if name in splits)
    shares = [f"{ours} by {column}" for ours, column in shift["shared_by"].items()]
    left = ", ".join(f"{count} of {name}" for name, count in shift["left_out"].items())
    parts = [named, *shares, *([f"left out {left}"] if left else [])]
    return f"the splits of the source: {'; '.join(parts)}"


def _held_out_text(shift: Mapping[str, Any]) -> str:
    parts = [
        f"{name} = {len(groups)} groups, from {_counts(shift.get('taken_from', {}).get(name, {}))}"
        for name, groups in shift.get("groups", {}).items()
    ]
    return f"held out by {shift.get('column')}, seed {shift.get('seed')}: {'; '.join(parts)}"


def _word_bias_text(shift: Mapping[str, Any]) -> str:
    trace = shift["trace"]
    return (
        f"word bias, seed {shift['seed']}: contrast of words {trace[0]:.3f} -> {max(trace):.3f} "
        f"in {shift['proposals']} tried exchanges; ood_val and ood_test are label-matched halves "
        "of the shifted side, id_val is a label-matched part of the training side"
    )


def _index_text(shift: Mapping[str, Any]) -> str:
    left = f", {shift['left_out']} samples left out" if shift["left_out"] else ""
    return f"as in the index {shift['file']}{left}"


def _cross_text(shift: Mapping[str, Any]) -> str:
    slope, offset = shift["label_map"]
    mapped = "labels as they are"
    if (slope, offset) != (1.0, 0.0):
        ours, theirs = shift["label_ranges"]["training"], shift["label_ranges"]["other"]
        mapped = (
            f"its labels mapped linearly from [{theirs[0]:g}, {theirs[1]:g}] to "
            f"[{ours[0]:g}, {ours[1]:g}]: {slope:g} y {offset:+g}"
        )
    return f"cross: ood_val and ood_test are those of {shift['file']}, {mapped}"


SHIFT_TEXTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "given": _given_text,
    "held_out": _held_out_text,
    "word_bias": _word_bias_text,
    "index": _index_text,
    "cross": _cross_text,
}


def _counts(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{counts[name]} {name}" for name in SPLITS if name in counts)


def _split_lines(card: DataCard) -> list[str]:
    columns = list(card.groups)
    head = ["split", "samples", *(f"{name}s" for name in columns), "mean", "std", "zeros", "labels"]
    rows = [head]
    for name, size in card.sizes.items():
        groups = [str(card.groups[column][name]) for column in columns]
        rows.append([name, str(size), *groups, *_label_cells(card.labels.get(name), card.task)])
    return _table(rows)


def _label_cells(labels: LabelCard | None, task: Task) -> list[str]:
    if labels is None:
        return ["-", "-", "-", "held out: not shown"]
    bars = "".join(
        BARS[int(np.ceil(count / max(labels.histogram) * (len(BARS) - 1)))]
        for count in labels.histogram
    )
    counts = " ".join(str(count) for count in labels.histogram)
    if task.is_named:
        named = zip(task.names, labels.histogram, strict=True)
        told = ", ".join(f"{name} {count}" for name, count in named)
        return ["-", "-", "-", f"{bars}  {told}"]
    return [f"{labels.mean:.2f}", f"{labels.std:.2f}", f"{labels.zeros:.1%}", f"{bars}  {counts}"]


def _group_lines(card: DataCard) -> list[str]:
    lines = []
    for column, pairs in card.shared.items():
        common = [f"{a} and {b} {count}" for (a, b), count in pairs.items() if count]
        lines.append(f"{column}s in two splits: {', '.join(common) or 'none'}")
    return ["", *lines] if lines else []


def _modality_lines(card: DataCard) -> list[str]:
    head = ["modality", "steps", "length", "size", "dtype", "zeros", "absent", "NaN or inf -> 0"]
    rows = [head]
    for name, m in card.modalities.items():
        replaced = sum(m.replaced.values())
        where = f"{replaced} in {len(m.replaced)} of {m.size} features" if replaced else "none"
        length = "-" if m.mean_length is None else f"{m.mean_length:.1f}"
        shares = [f"{m.zeros:.1%}", f"{m.absent:.1%}"]
        rows.append([name, str(m.steps or "-"), length, str(m.size), m.dtype, *shares, where])
    return _table(rows)


def _strength_lines(card: DataCard) -> list[str]:
    """A plain model of each modality: correlation with the label, and what a shift takes of it."""
    head = ["strength of the shift", "id_val", "ood_val", "random", "ridge: correlation with label"]
    rows = [head]
    for name, found in card.strength.items():
        lost = float(np.mean(found.random)) - found.outside
        spread = f"{np.mean(found.random):.2f} ± {np.std(found.random):.2f}"
        scores = [f"{found.inside:.2f}", f"{found.outside:.2f}", spread]
        rows.append([name, *scores, f"ood_val loses {lost:.2f} to a label-matched random split"])
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            # Names and the last, free-form column to the left; numbers to the right.
            cell.ljust(width) if index in (0, len(row) - 1) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
