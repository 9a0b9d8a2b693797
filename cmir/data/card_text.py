"""The data card as text for a terminal or a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cmir.data.card import DataCard, LabelCard
from cmir.data.manifest import SPLITS

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
        f"checksum {card.checksum}",
        *(f"WARNING: {warning}" for warning in card.warnings),
    ]
    return "\n".join(parts)


def _title(card: DataCard) -> str:
    scale = ""
    if card.label_range is not None:
        scale = f", labels in [{card.label_range[0]:g}, {card.label_range[1]:g}]"
    return f"{card.name}: {card.task}{scale}, {sum(card.sizes.values())} samples"


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
    if shift.get("scheme") == "given":
        return "the splits of the source"
    if shift.get("scheme") != "held_out":
        return str(shift.get("scheme", "not recorded"))
    parts = [
        f"{name} = {len(groups)} groups, from {_counts(shift.get('taken_from', {}).get(name, {}))}"
        for name, groups in shift.get("groups", {}).items()
    ]
    return f"held out by {shift.get('column')}, seed {shift.get('seed')}: {'; '.join(parts)}"


def _counts(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{counts[name]} {name}" for name in SPLITS if name in counts)


def _split_lines(card: DataCard) -> list[str]:
    columns = list(card.groups)
    head = ["split", "samples", *(f"{name}s" for name in columns), "mean", "std", "zeros", "labels"]
    rows = [head]
    for name, size in card.sizes.items():
        groups = [str(card.groups[column][name]) for column in columns]
        rows.append([name, str(size), *groups, *_label_cells(card.labels.get(name))])
    return _table(rows)


def _label_cells(labels: LabelCard | None) -> list[str]:
    if labels is None:
        return ["-", "-", "-", "held out: not shown"]
    bars = "".join(
        BARS[int(np.ceil(count / max(labels.histogram) * (len(BARS) - 1)))]
        for count in labels.histogram
    )
    counts = " ".join(str(count) for count in labels.histogram)
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
