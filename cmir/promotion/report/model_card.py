"""The model card of a registered version: everything that a user or a referee may ask, in Markdown.

After Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from cmir.data.task import Task
from cmir.evaluation.paired_tests import Difference, holm, minimum_detectable_effect
from cmir.evaluation.robustness.robustness_table import curve_summary
from cmir.pages import page
from cmir.promotion.evidence import Evidence
from cmir.promotion.promotion_plan import PromotionPlan, PromotionRequest
from cmir.promotion.report.artifacts import WINNER, Artifacts
from cmir.promotion.report.probe_report import probe_text
from cmir.promotion.selection import metric_of
from cmir.serving.language_files import file_sizes
from cmir.sweep.modalities.modality_text import basis, sentence


@dataclass(frozen=True)
class TimeUsed:
    """Seconds of the promotion until its card was written, and of its sweep.

    Attributes:
        wall: of the promotion, by the clock.
        processor: of the promotion, all threads of its process.
        sweep: sum over the sweep's trials, by the clock.
    """

    wall: float
    processor: float
    sweep: float


def model_card(
    values: Mapping[str, Any], evidence: Evidence, shown: Artifacts, time: TimeUsed
) -> str:
    """The whole card.

    Args:
        values: from `page_values`.
        evidence: of the gates.
        shown: robustness, probes and the ablation of the sweep.
        time: that all of it took.
    """
    plan: PromotionPlan = values["plan"]
    metric = metric_of(plan.ood_metric)
    more = {
        "evidence": evidence,
        "predicted": _predicted,
        "detectable": minimum_detectable_effect,
        "corrected": _corrected,
        "shift": _shift(plan.dataset.manifest.shift),
        "metric": metric,
        "robustness_columns": ["corruption", "where", "modality", *shown.robustness],
        "robustness_rows": _robustness(shown, metric),
        "probes": probe_text(shown.probes),
        "modalities": _modalities(shown),
        "basis": "" if shown.modalities is None else basis(shown.modalities),
        "ablation": _ablation(shown),
        "classes": shown.classes,
        "time": time,
        "sizes": file_sizes(evidence.ensemble),
        "command": _command(plan, values["request"]),
    }
    return page("promotion/report/model_card.md.j2", **values, **more) + "\n"


def _predicted(task: Task) -> str:
    several = f"{len(task.names)} classes ({', '.join(task.names)})"
    return {
        "regression": "a number",
        "binary": "one of two classes",
        "classes": f"one of {several}",
        "multilabel": f"which hold of {several.replace('classes', 'labels')}",
    }[task.kind]


def _corrected(found: Mapping[str, Difference]) -> dict[str, float]:
    """The p values of a table's rows, corrected for their number; 1 where one is not defined."""
    values = {name: one.p_value for name, one in found.items()}
    return holm({name: 1.0 if math.isnan(p) else p for name, p in values.items()})


def _command(plan: PromotionPlan, request: PromotionRequest) -> str:
    words = ["python", "workflows/promote.py", "--sweep", plan.sweep, "--rule", plan.rule]
    words += ["--top", str(request.top), "--seeds", str(len(plan.seeds)), "--alias", request.alias]
    if request.force:
        words += ["--force", "--why", request.why]
    return shlex.join(words)


def _shift(shift: Mapping[str, Any]) -> str:
    chosen = {k: v for k, v in shift.items() if isinstance(v, str | int | float)}
    return ", ".join(f"{key} {value}" for key, value in chosen.items()) or "not recorded"


def _robustness(shown: Artifacts, metric: str) -> list[list[str]]:
    """The clean scores and those of each corruption, a column for each model."""
    tables = {name: table.filter(metric=metric) for name, table in shown.robustness.items()}
    summaries = {name: curve_summary(table) for name, table in tables.items()}
    rows = [
        [
            *(str(row[key]) for key in ("corruption", "where", "modality")),
            *(_average(table, row) for table in summaries.values()),
        ]
        for row in summaries[WINNER].iter_rows(named=True)
    ]
    clean = ["none", "", "", *map(_clean, tables.values())]
    return [clean, *rows] if rows else []


def _average(table: pl.DataFrame, row: Mapping[str, Any]) -> str:
    same = {key: row[key] for key in ("corruption", "where", "modality")}
    found = table.filter(**same)["average"].to_list()
    return f"{found[0]:.4f}" if found else ""


def _clean(table: pl.DataFrame) -> str:
    return f"{table.filter(corruption='clean')['mean'].item():.4f}"


def _modalities(shown: Artifacts) -> list[str]:
    found = shown.modalities
    if found is None:
        return []
    return [sentence(verdict, found.champion) for verdict in found.verdicts.values()]


def _ablation(shown: Artifacts) -> str:
    text = next((file for file in shown.ablation if file.suffix == ".md"), None)
    return "" if text is None else text.read_text(encoding="utf-8").strip()
