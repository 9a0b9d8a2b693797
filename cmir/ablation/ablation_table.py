"""The table of an ablation: one row per arm, as values and as cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cmir.ablation.arm import FULL, Arm
from cmir.ablation.arm_results import NOISE, ArmResult
from cmir.ablation.arm_scores import DIFFERENCE, Columns, Yardstick, measured
from cmir.evaluation.paired_tests import holm

ABOUT = ("arm", "family", "outcome", "same_as", "note", "fingerprint")


def ablation_table(
    rows: Sequence[Arm],
    results: Mapping[str, ArmResult],
    columns: Mapping[str, Columns],
    keys: Sequence[str],
) -> pl.DataFrame:
    """One row per arm, in order.

    Args:
        rows: the arms, the full configuration first.
        results: by fingerprint.
        columns: scores and differences by fingerprint, of the arms that finished.
        keys: from `measured`.

    Returns:
        Columns `arm`, `family`, `outcome`, `same_as` (the earlier row that is the same training by
        construction), `note` (with the reason where an arm did not finish), `fingerprint`; of each
        `split/metric` and `split/noise_metric`: itself, `_std` over the seeds, `_difference` to the
        full, the interval `_low` to `_high`, `_p_better`, the two-sided `_p_value`, and `_p_holm`,
        the same corrected for the number of arms. Null where an arm did not finish.
    """
    names = [f"{key}{end}" for key in keys for end in ("", "_std", *_ends())]
    schema: dict[str, Any] = dict.fromkeys(ABOUT, pl.String) | dict.fromkeys(names, pl.Float64)
    corrected = corrected_columns(columns, keys)
    first: dict[str, str] = {}
    table = []
    for arm in rows:
        result = results[arm.fingerprint]
        same = first.setdefault(arm.fingerprint, arm.name)
        note = "; ".join(filter(None, (arm.note, result.reason)))
        told = None if same == arm.name else same
        about = (arm.name, arm.family, result.outcome, told, note, arm.fingerprint)
        row = dict(zip(ABOUT, about, strict=True))
        table.append(row | corrected.get(arm.fingerprint, {}))
    return pl.DataFrame(table, schema=schema)


def scored(
    rows: Mapping[str, Arm],
    results: Mapping[str, ArmResult],
    yardstick: Yardstick,
    full: str,
) -> dict[str, Columns]:
    """Scores and differences of every finished arm; `full`: that of the full configuration."""
    found: dict[str, Columns] = {}
    finished = [name for name in rows if results[name].outcome == "finished"]
    reference = results[full].scores if full in finished else None
    for fingerprint in finished:
        found[fingerprint] = yardstick.scores(results[fingerprint].by_seed)
        if reference is not None and fingerprint != full:
            found[fingerprint] |= yardstick.differences(results[fingerprint].scores, reference)
    return found


@dataclass(frozen=True)
class Cells:
    """A table as text: a title, a head, rows."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def score_cells(table: pl.DataFrame, metric: str, splits: Sequence[str], title: str) -> Cells:
    """What fits a terminal of 100 columns: clean scores, noise, differences out of distribution.

    The first of `splits` is in distribution, the last one out of it. `p` is the two-sided
    p value of the difference, corrected for the number of arms.
    """
    clean = [f"{split}/{metric}" for split in splits]
    last = splits[-1]
    noisy = f"{last}/{NOISE}{metric}"
    head = ["arm", *splits, f"{last} noise", f"{last} - full [95 %]", "p"]
    rows = []
    for row in table.iter_rows(named=True):
        cells = [row["arm"]]
        if row["outcome"] != "finished":
            rows.append([*cells, row["outcome"], *[""] * (len(head) - 2)])
            continue
        cells += [spread_cell(row, key) for key in (*clean, noisy)]
        difference = "same as full" if row["same_as"] == FULL else interval_cell(row, clean[-1])
        rows.append([*cells, difference, number_cell(row, f"{clean[-1]}_p_holm")])
    return Cells(title, head, rows)


def difference_cells(table: pl.DataFrame, metric: str, splits: Sequence[str]) -> Cells:
    """The differences on every split, clean and under noise, with their intervals."""
    keys = measured(metric, splits)
    head = ["arm", *(f"{key}: arm - full [95 %]" for key in keys), "note"]
    rows = [
        [row["arm"], *(interval_cell(row, key) for key in keys), row["note"]]
        for row in table.iter_rows(named=True)
    ]
    return Cells("differences to the full configuration", head, rows)


def notes(table: pl.DataFrame) -> list[str]:
    """What must be known about the rows: `arm, arm: note`, and which rows are one training."""
    told: dict[str, list[str]] = {}
    for arm, same, note in table.select("arm", "same_as", "note").rows():
        if note:
            told.setdefault(note, []).append(arm)
        if same not in (None, FULL):
            told.setdefault(f"same training as '{same}'", []).append(arm)
    return [f"{', '.join(arms)}: {note}" for note, arms in told.items()]


def _ends() -> list[str]:
    return [*(f"_{name}" for name in DIFFERENCE), "_p_holm"]


def corrected_columns(columns: Mapping[str, Columns], keys: Sequence[str]) -> dict[str, Columns]:
    """The columns with `key_p_holm` added: each key's p values, corrected over the rows."""
    found = {name: dict(own) for name, own in columns.items()}
    for key in keys:
        p = f"{key}_p_value"
        known = {name: own[p] for name, own in columns.items() if p in own}
        for name, value in holm(known).items():
            found[name][f"{key}_p_holm"] = value
    return found


def spread_cell(row: Mapping[str, Any], key: str) -> str:
    """Mean and deviation of a row's score; empty where it has none."""
    value = row.get(key)
    return "" if value is None else f"{short(value)} ± {short(row[f'{key}_std'])}"


def interval_cell(row: Mapping[str, Any], key: str) -> str:
    """A row's difference in a score with its interval; empty where it has none."""
    value = row.get(f"{key}_difference")
    if value is None:
        return ""
    low, high = short(row[f"{key}_low"], sign="+"), short(row[f"{key}_high"], sign="+")
    return f"{short(value, sign='+')} [{low}, {high}]"


def number_cell(row: Mapping[str, Any], key: str) -> str:
    """A row's number; empty where it has none."""
    value = row.get(key)
    return "" if value is None else short(value)


def short(value: float, digits: int = 3, sign: str = "-") -> str:
    """A number without the zero before its point.

    Example:
        >>> short(0.7724), short(-0.05), short(0.05, sign="+"), short(1.2)
        ('.772', '-.050', '+.050', '1.200')
    """
    text = f"{value:{sign}.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text
