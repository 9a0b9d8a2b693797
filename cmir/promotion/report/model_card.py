"""The model card of a registered version: everything that a user or a referee may ask, in Markdown.

After Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cmir.evaluation.paired_tests import Difference, minimum_detectable_effect
from cmir.evaluation.robustness.robustness_table import curve_summary
from cmir.promotion.candidate import Candidate
from cmir.promotion.evidence import Evidence
from cmir.promotion.heldout_scores import HeldoutFindings
from cmir.promotion.promotion_plan import PromotionPlan, PromotionRequest
from cmir.promotion.report.artifacts import WINNER, Artifacts
from cmir.promotion.report.probe_report import probe_text
from cmir.promotion.report.promotion_report import (
    SYNTHETIC_CAVEAT,
    candidates_table,
    failed_gates,
    gates_table,
    heldout_part,
    markdown,
    settings_table,
)
from cmir.promotion.selection import metric_of


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
    plan: PromotionPlan,
    request: PromotionRequest,
    candidates: Sequence[Candidate],
    winner: Candidate,
    evidence: Evidence,
    shown: Artifacts,
    heldout: HeldoutFindings,
    time: TimeUsed,
) -> str:
    """The whole card."""
    parts = [
        _head(plan, request, winner, failed_gates(evidence.verdicts)),
        _plugins(evidence.ensemble.card.plugins),
        _data(plan),
        _choice(plan, candidates),
        ["## Gates", "", *gates_table(evidence.verdicts)],
        _validation(evidence),
        ["## On held-out data", "", *heldout_part(heldout, is_candidate=request.is_candidate)],
        _differences(heldout, evidence),
        _groups(evidence),
        _robustness(shown, metric_of(plan.ood_metric)),
        ["## What its parts hold", "", probe_text(shown.probes)],
        _ablation(shown),
        _untested(plan),
        _time(time),
        reproduce_lines(plan, request),
        ["## Settings", "", *settings_table(winner)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def reproduce_lines(plan: PromotionPlan, request: PromotionRequest) -> list[str]:
    """The commands that train it again."""
    words = ["python", "workflows/promote.py", "--sweep", plan.sweep, "--rule", plan.rule]
    words += ["--top", str(request.top), "--seeds", str(len(plan.seeds)), "--alias", request.alias]
    if request.force:
        words += ["--force", "--why", request.why]
    return [
        "## Train it again",
        "",
        f"`python workflows/reproduce.py --model {plan.model_name} --version N`, with this "
        "version's number, trains it from what the version carries and compares. It was made by",
        "",
        f"    {shlex.join(words)}",
    ]


def _head(
    plan: PromotionPlan, request: PromotionRequest, winner: Candidate, failed: str
) -> list[str]:
    task = "a number" if plan.data.task == "regression" else "one of two classes"
    inputs = ", ".join(f"`{name}`" for name in plan.data.modalities)
    lines = [
        f"# {plan.model_name}: trial {winner.record.number} of {plan.sweep}",
        "",
        f"Predicts {task} from {inputs}, for groups (people, films, rooms) that training has not "
        "met. Predictions are averaged over the seeds; `std` is their spread, not the error.",
    ]
    if plan.is_synthetic:
        lines += ["", SYNTHETIC_CAVEAT]
    if failed:
        lines += ["", f"**Registered by force in spite of: {failed}.** {request.why}"]
    return lines


def _data(plan: PromotionPlan) -> list[str]:
    sizes = ", ".join(f"{name} {count}" for name, count in plan.dataset.sizes.items())
    manifest = plan.dataset.manifest
    return [
        "## Data and shift",
        "",
        f"`{plan.data.name}` ({plan.data.task}"
        + (f", labels in {list(plan.data.label_range)}" if plan.data.label_range else "")
        + f"): {sizes}. Checksum `{plan.dataset.checksum[:12]}`, of the development part "
        f"`{plan.data.checksum[:12]}`.",
        "",
        f"Source: {manifest.source.get('file', 'not recorded')}. Shift: "
        f"{_shift(manifest.shift)}. `id_val` and `id_test` are of known groups, `ood_val` and "
        "`ood_test` of others.",
    ]


def _shift(shift: Mapping[str, Any]) -> str:
    chosen = {k: v for k, v in shift.items() if isinstance(v, str | int | float)}
    return ", ".join(f"{key} {value}" for key, value in chosen.items()) or "not recorded"


def _choice(plan: PromotionPlan, candidates: Sequence[Candidate]) -> list[str]:
    return [
        "## How it was chosen",
        "",
        f"By the rule `{plan.rule}` (`{plan.metric}`) among {plan.finished} finished trials; "
        f"the best {len(candidates)} were trained again with the seeds "
        f"{', '.join(map(str, plan.seeds))}, which the sweep had not used. The epoch of each seed "
        "was chosen on the objective, so that all scores on validation data are optimistic.",
        "",
        *candidates_table(plan, candidates),
    ]


def _plugins(needed: Sequence[str]) -> list[str]:
    if not needed:
        return []
    return [f"Predicting needs the plugin {', '.join(needed)}, which must be importable there."]


def _validation(evidence: Evidence) -> list[str]:
    if evidence.baseline is None:
        return []
    title = f"## Against {evidence.baseline.name} on validation data\n\n{evidence.baseline.origin}."
    return [title, "", *_difference_table(evidence.differences)]


def _differences(heldout: HeldoutFindings, evidence: Evidence) -> list[str]:
    if not heldout.differences or evidence.baseline is None:
        return []
    title = f"Against {evidence.baseline.name}, in the same test-set access:"
    return [title, "", *_difference_table(heldout.differences)]


def _difference_table(differences: Mapping[str, Difference]) -> list[str]:
    rows = [
        [
            key,
            f"{d.estimate:+.4f}",
            f"[{d.low:+.4f}, {d.high:+.4f}]",
            f"{d.p_better:.2f}",
            f"{minimum_detectable_effect(d):.4f}",
            f"{d.groups}",
        ]
        for key, d in differences.items()
    ]
    head = ["metric", "difference", "95 % interval", "P(better)", "detectable at 80 %", "groups"]
    return [
        *markdown(head, rows),
        "",
        "Paired over the same samples; intervals resample the seeds and the groups (speakers, "
        "where the data names them).",
    ]


def _groups(evidence: Evidence) -> list[str]:
    if not evidence.groups or evidence.baseline is None:
        return []
    rows = [
        [
            g.group,
            str(g.samples),
            f"{g.own:.4f}",
            f"{g.other:.4f}",
            f"{g.gain:+.4f}",
            f"[{g.low:+.4f}, {g.high:+.4f}]",
        ]
        for g in evidence.groups
    ]
    opponent = evidence.baseline.name
    head = ["group of ood_val", "samples", "this model", opponent, "gain", "95 % interval"]
    return ["## Groups", "", *markdown(head, rows)]


def _robustness(shown: Artifacts, metric: str) -> list[str]:
    summaries = {
        name: curve_summary(table.filter(metric=metric)) for name, table in shown.robustness.items()
    }
    first = summaries[WINNER]
    if first.is_empty():
        return []
    keys = ["corruption", "where", "modality"]
    rows = [
        [*(str(row[key]) for key in keys), *(_average(table, row) for table in summaries.values())]
        for row in first.iter_rows(named=True)
    ]
    clean = [
        ["none", "", "", *(_clean(table, metric) for table in shown.robustness.values())],
    ]
    return [
        f"## Under corruption: {metric} on ood_val, mean over the severities",
        "",
        *markdown(["corruption", "where", "modality", *summaries], clean + rows),
    ]


def _average(table: pl.DataFrame, row: Mapping[str, Any]) -> str:
    same = {key: row[key] for key in ("corruption", "where", "modality")}
    found = table.filter(**same)["average"].to_list()
    return f"{found[0]:.4f}" if found else ""


def _clean(table: pl.DataFrame, metric: str) -> str:
    return f"{table.filter(corruption='clean', metric=metric)['mean'].item():.4f}"


def _ablation(shown: Artifacts) -> list[str]:
    text = next((file for file in shown.ablation if file.suffix == ".md"), None)
    if text is None:
        return []
    return ["## Ablation of its sweep", "", text.read_text(encoding="utf-8").strip()]


def _untested(plan: PromotionPlan) -> list[str]:
    splits = {
        "id_test": "samples of known groups that no choice has seen",
        "ood_test": "groups that neither training nor selection has seen",
    }
    missing = [what for name, what in splits.items() if name not in plan.dataset.sizes]
    lines = [
        "other data sets, languages, recording devices and feature extractors than those of the "
        "data named above;",
        "shifts other than the one named above; corruptions were tested on validation data alone;",
        "samples with a high out-of-distribution score, and inputs made to deceive it;",
        "fairness towards groups that the data does not name.",
    ]
    lines += [f"{what}: the data set has none." for what in missing]
    return ["## Not tested on", "", *(f"- {line}" for line in lines)]


def _time(time: TimeUsed) -> list[str]:
    return [
        "## Time used",
        "",
        f"Promotion {time.wall:.0f} s by the clock and {time.processor:.0f} s of processor time; "
        f"the trials of its sweep {time.sweep:.0f} s by the clock, together. Energy was not "
        "measured.",
    ]
