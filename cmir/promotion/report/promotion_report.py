"""What a promotion found: its tables, and the pages of a version or a refusal in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cmir.evaluation.probes.probing import Probes
from cmir.pages import page
from cmir.promotion.candidate import Candidate
from cmir.promotion.gates import Verdict
from cmir.promotion.heldout_scores import ENSEMBLE, HeldoutFindings
from cmir.promotion.promotion_plan import PromotionPlan, PromotionRequest
from cmir.promotion.report.probe_report import probe_text

GATE_COLUMNS = ["gate", "required", "measured", "95 % interval", "detectable", "passed"]
# The column of MLflow's databases.
LONGEST_DESCRIPTION = 5000


def version_page(
    values: Mapping[str, Any], experiment: str, run: str, files: Iterable[str], probes: Probes
) -> str:
    """What the registered version is, how it was chosen, what it scores and what to beware of.

    Args:
        values: from `page_values`.
        experiment: of the promotion's run.
        run: of the promotion.
        files: artifacts of the run.
        probes: of the winner.
    """
    links = {"experiment": experiment, "run": run, "files": files, "probes": probe_text(probes)}
    return fitting(page("promotion/report/version_page.md.j2", **values, **links))


def page_values(
    plan: PromotionPlan,
    request: PromotionRequest,
    candidates: Sequence[Candidate],
    winner: Candidate,
    verdicts: Sequence[Verdict],
    heldout: HeldoutFindings,
) -> dict[str, Any]:
    """What the page of a version and its card have in common, by the names in their templates."""
    return {
        "plan": plan,
        "request": request,
        "winner": winner,
        "failed": failed_gates(verdicts),
        "heldout": heldout,
        "time_of_access": "first" if heldout.accesses == 1 else ordinal(heldout.accesses),
        "heldout_rows": heldout_rows(heldout.scores),
        **_tables(plan, candidates, verdicts),
    }


def fitting(text: str, limit: int = LONGEST_DESCRIPTION) -> str:
    """A text that a registry's database takes, cut at a line's end if need be."""
    if len(text) <= limit:
        return text
    end = "\n\n... the rest stands in `model_card.md`."
    return text[: text.rindex("\n", 0, limit - len(end))] + end


def refusal(
    plan: PromotionPlan, candidates: Sequence[Candidate], verdicts: Sequence[Verdict]
) -> str:
    """Why nothing was registered."""
    tables = _tables(plan, candidates, verdicts)
    return page("promotion/report/refusal.md.j2", plan=plan, **tables)


def failed_gates(verdicts: Iterable[Verdict]) -> str:
    """Names of the gates that did not pass, empty if all did."""
    return ", ".join(verdict.name for verdict in verdicts if not verdict.passed)


def candidate_columns(plan: PromotionPlan) -> list[str]:
    """Head of the table of candidates."""
    shown = _shown_metrics(plan)
    return ["trial", "scheme", "in the sweep", *shown, "std"]


def _shown_metrics(plan: PromotionPlan) -> list[str]:
    """What the rule looks at, the objective, and what the gates compare."""
    return list(dict.fromkeys([*plan.ranking.metrics, plan.objective, plan.ood_metric]))


def candidate_rows(plan: PromotionPlan, candidates: Iterable[Candidate]) -> list[list[str]]:
    """One row per candidate: its score in the sweep, then those of the fresh seeds."""
    shown = _shown_metrics(plan)
    rows = []
    for candidate in candidates:
        record, result = candidate.record, candidate.result
        keys = [*shown, f"{plan.metric}_std"]
        fresh = ["diverged"] * len(keys)
        if result is not None:
            fresh = [f"{result.metrics[key]:.4f}" for key in keys]
        swept = f"{record.ending.metrics.get(plan.metric, math.nan):.4f}"
        rows.append([str(record.number), record.scheme, swept, *fresh])
    return rows


def verdict_rows(verdicts: Iterable[Verdict]) -> list[list[str]]:
    """One row per gate."""
    return [
        [v.name, v.required, v.measured, v.interval, v.detectable, "yes" if v.passed else "NO"]
        for v in verdicts
    ]


def heldout_rows(heldout: Mapping[str, float]) -> list[list[str]]:
    """`metric, mean over seeds, their deviation, of the average`, one row per split and metric."""
    rows = []
    for key, value in heldout.items():
        split, _, metric = key.partition("/")
        together = heldout.get(f"{split}/{ENSEMBLE}{metric}")
        if together is not None:
            spread = heldout[f"{key}_std"]
            rows.append([key, f"{value:.4f}", f"{spread:.4f}", f"{together:.4f}"])
    return rows


def ordinal(number: int) -> str:
    """A number as a place in a row.

    Example:
        >>> [ordinal(number) for number in (2, 3, 11, 21)]
        ['2nd', '3rd', '11th', '21st']
    """
    ends = {1: "st", 2: "nd", 3: "rd"}
    end = "th" if number % 100 in (11, 12, 13) else ends.get(number % 10, "th")
    return f"{number}{end}"


def _tables(
    plan: PromotionPlan, candidates: Sequence[Candidate], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    return {
        "gate_columns": GATE_COLUMNS,
        "gate_rows": verdict_rows(verdicts),
        "candidate_columns": candidate_columns(plan),
        "candidate_rows": candidate_rows(plan, candidates),
    }
