"""The table of rivals: a row for each, the champion first; as values, text and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cmir.ablation.ablation_table import (
    Cells,
    corrected_columns,
    interval_cell,
    number_cell,
    spread_cell,
)
from cmir.ablation.arm_results import NOISE, noise_metrics
from cmir.ablation.arm_scores import Yardstick, measured
from cmir.method.training.split_scores import WORST, split_metrics
from cmir.rivals.rival_scores import Scores


@dataclass(frozen=True)
class About:
    """What a row says beside its scores.

    Attributes:
        what: one sentence with its source.
        trials: of its tuning; 0 where it has none of its own.
        seconds: of all its trainings, by the clock.
        outcome: `finished`, or why it has no scores.
    """

    what: str
    trials: int = 0
    seconds: float = 0.0
    outcome: str = "finished"


def rivals_table(
    about: Mapping[str, About], scores: Mapping[str, Scores], yardstick: Yardstick
) -> pl.DataFrame:
    """One row for each rival, the champion first.

    Returns:
        Columns `rival`, `outcome`, `what`, `trials`, `seconds`; of each `split/metric` and
        `split/noise_metric` itself, `_std` over the seeds, and against the champion `_difference`,
        `_low`, `_high`, `_p_better`, `_p_value` and `_p_holm`, corrected over the rivals; and
        `split/worst_environment_...`.
    """
    champion = next(iter(about))
    single = {name: _columns(name, scores, champion, yardstick) for name in scores}
    columns = corrected_columns(single, measured(yardstick.metric, yardstick.splits))
    rows: list[dict[str, Any]] = [
        {
            "rival": name,
            "outcome": one.outcome,
            "what": one.what,
            "trials": one.trials,
            "seconds": one.seconds,
            **columns.get(name, {}),
        }
        for name, one in about.items()
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _columns(
    name: str, scores: Mapping[str, Scores], champion: str, yardstick: Yardstick
) -> dict[str, float]:
    own, by_seed = scores[name], dict[str, Sequence[float]]()
    for split in yardstick.splits.values():
        metrics = split_metrics(own[split.name], split, yardstick.task)
        by_seed |= {key: values.tolist() for key, values in metrics.items()}
    by_seed |= noise_metrics(own, yardstick.splits, yardstick.task)
    found = yardstick.scores(by_seed)
    found |= {
        key: float(np.mean(values))
        for key, values in by_seed.items()
        if key.partition("/")[2].startswith(WORST)
    }
    if name != champion and champion in scores:
        found |= yardstick.differences(own, scores[champion])
    return found


def rival_cells(
    table: pl.DataFrame, metric: str, splits: Sequence[str], worst: str, title: str
) -> Cells:
    """What fits a terminal of 100 columns; the last of `splits` is out of distribution.

    The difference is that to the champion, with its 95 % interval; `p` is two-sided and corrected
    over the rivals (Holm).
    """
    last = splits[-1]
    head = ["rival", *splits, "noise", "worst group", "- champion [95 %]", "p", "s"]
    rows = []
    for row in table.iter_rows(named=True):
        if row["outcome"] != "finished":
            rows.append([row["rival"], row["outcome"], *[""] * (len(head) - 2)])
            continue
        cells = [spread_cell(row, f"{split}/{metric}") for split in splits]
        cells += [number_cell(row, f"{last}/{NOISE}{metric}"), number_cell(row, f"{last}/{worst}")]
        key = f"{last}/{metric}"
        cells += [
            interval_cell(row, key),
            number_cell(row, f"{key}_p_holm"),
            f"{row['seconds']:.0f}",
        ]
        rows.append([row["rival"], *cells])
    return Cells(title, head, rows)


def latex(cells: Cells) -> str:
    """The same as a LaTeX table (`booktabs`), its title as the caption.

    Example:
        >>> print(latex(Cells("a & b", ["rival", "mae"], [["erm", ".9 ± .1"]])))
        \\begin{table}
        \\caption{a \\& b}
        \\begin{tabular}{lr}
        \\toprule
        rival & mae \\\\
        \\midrule
        erm & .9 $\\pm$ .1 \\\\
        \\bottomrule
        \\end{tabular}
        \\end{table}
    """
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in (cells.head, *cells.rows)]
    columns = "l" + "r" * (len(cells.head) - 1)
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_escaped(cells.title)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _escaped(text: str) -> str:
    for special in "&%_#":
        text = text.replace(special, f"\\{special}")
    return text.replace("±", r"$\pm$")
