"""From a judged winner to a registered version: its test-set access, the model card, the alias."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient

from cmir.method.baseline_recipes import is_erm
from cmir.promotion.candidate import Candidate
from cmir.promotion.evidence import Evidence, judged_alias
from cmir.promotion.heldout_scores import ENSEMBLE, HeldoutFindings, read_once
from cmir.promotion.promotion_plan import PromotionPlan, PromotionRequest
from cmir.promotion.report.artifacts import Artifacts, log_artifacts
from cmir.promotion.report.model_card import TimeUsed, model_card
from cmir.promotion.report.probe_report import probe_metrics
from cmir.promotion.report.promotion_report import failed_gates, page_values, version_page
from cmir.promotion.selection import metric_of
from cmir.registry.alias_history import check_holder
from cmir.registry.model_registry import ACCESSES, CHECKSUM, Registry, describe_run, promotion_run
from cmir.registry.recipe import RECIPE, recipe_of
from cmir.runner.provenance import provenance

# Trial runs carry the tag `outcome`; a promotion is no trial and carries this one.
PROMOTION = "promotion"
LOCK = "registry"
CARD = "model_card.md"


@dataclass(frozen=True, eq=False)
class Judged:
    """A winner that may be registered, and all that is known of it from development data.

    Attributes:
        candidates: the trials that were trained again.
        winner: the best of them, or the baseline where that is not better.
        evidence: of the gates.
        shown: what its card shows.
        began: `time.perf_counter()` and `time.process_time()` at the start of the promotion.
        device: it was trained on.
    """

    candidates: Sequence[Candidate]
    winner: Candidate
    evidence: Evidence
    shown: Artifacts
    began: tuple[float, float]
    device: str


def register_winner(
    plan: PromotionPlan,
    request: PromotionRequest,
    judged: Judged,
    registry: Registry,
    client: MlflowClient,
) -> tuple[HeldoutFindings, str]:
    """Reads held-out data once, registers, and moves the alias.

    Promotions of one folder wait for each other here. Whoever comes second finds another champion
    than its gates have seen, and nothing is read or registered for it.

    Returns:
        the findings, and the number of the version.

    Raises:
        OvertakenError: the alias has moved since the gates looked.
        InputError: the test-set access could not be counted.
    """
    plan.paths.make()
    with plan.paths.waiting_lock(LOCK):
        alias = judged_alias(request.alias)
        check_holder(client, registry.name, alias, judged.evidence.rival)
        seconds = time.perf_counter() - judged.began[0]
        with promotion_run(client, plan.space_name, plan.sweep, plan.parent_run, seconds) as run:
            heldout = _read(plan, request, judged.evidence, registry)
            version = _log_and_register(plan, request, judged, heldout, registry, client, run)
    return heldout, version


def facts_of(plan: PromotionPlan) -> dict[str, str]:
    """Tags of the run and of the version: what was chosen from, how, and by which code."""
    return provenance() | {
        "sweep": plan.sweep,
        "rule": plan.rule,
        "objective": plan.objective,
        "seeds": ", ".join(map(str, plan.seeds)),
        "data": plan.data.name,
        "data_checksum": plan.dataset.checksum,
        CHECKSUM: plan.data.checksum,
        "synthetic": str(plan.is_synthetic).lower(),
    }


def params_of(plan: PromotionPlan, winner: Candidate | None) -> dict[str, Any]:
    """Parameters of the promotion's run."""
    chosen: dict[str, Any] = {}
    if winner is not None:
        chosen = {**_who(winner), **winner.record.trial(plan.seeds).flat()}
    return {"rule": plan.rule, "top": len(plan.shortlist), "finished": plan.finished, **chosen}


def recorded_scores(
    objective: str, metrics: Mapping[str, float], heldout: Mapping[str, float]
) -> dict[str, str]:
    """Scores as a version's tags: all of `ood_val`, which later gates compare, and the objective's.

    With all digits, so that the same model equals itself. The logged model has the rest.
    """
    metric = metric_of(objective)
    chosen = {k: v for k, v in metrics.items() if k.startswith("ood_val/") and k[-4:] != "_std"}
    shown = [metric, f"{metric}_std", f"{ENSEMBLE}{metric}"]
    chosen |= {k: v for k, v in {**metrics, **heldout}.items() if metric_of(k) in shown}
    return {key: repr(float(value)) for key, value in chosen.items() if not math.isnan(value)}


def _read(
    plan: PromotionPlan, request: PromotionRequest, evidence: Evidence, registry: Registry
) -> HeldoutFindings:
    if request.is_candidate:
        registry.accesses()  # Makes the name, to which the version will belong.
        return HeldoutFindings()
    baseline = None if evidence.baseline is None else evidence.baseline.ensemble
    registry.accesses()
    return read_once(plan, evidence.ensemble, registry, f"promotion of {plan.sweep}", baseline)


def _log_and_register(
    plan: PromotionPlan,
    request: PromotionRequest,
    judged: Judged,
    heldout: HeldoutFindings,
    registry: Registry,
    client: MlflowClient,
    run: str,
) -> str:
    winner, evidence, shown = judged.winner, judged.evidence, judged.shown
    assert winner.result is not None
    tags = facts_of(plan) | _reading_tags(heldout) | _force_tags(request, evidence)
    files = [CARD, RECIPE, "by_seed.json", *log_artifacts(client, run, shown)]
    values = page_values(plan, request, judged.candidates, winner, evidence.verdicts, heldout)
    experiment = str(client.get_run(run).info.experiment_id)
    text = version_page(values, experiment, run, files, shown.probes)
    describe_run(
        client,
        run,
        params=params_of(plan, winner),
        tags={**tags, PROMOTION: "registered"},
        text=text,
        data=plan.data,
    )
    folder = plan.paths.recorded(plan.data.found_at)
    recipe = recipe_of(winner.result, plan.dataset, folder, judged.device, provenance())
    card = model_card(values, evidence, shown, _time_used(plan, judged.began))
    client.log_text(run, recipe.model_dump_json(indent=1), RECIPE)
    client.log_text(run, card, CARD)
    client.log_dict(run, {k: list(v) for k, v in winner.result.by_seed.items()}, "by_seed.json")
    metrics = {**winner.result.metrics, **probe_metrics(shown.probes), **heldout.scores}
    scores = recorded_scores(plan.objective, winner.result.metrics, heldout.scores)
    registry.describe(_about(plan, registry.name))
    return registry.register(
        run,
        evidence.ensemble,
        plan.data,
        metrics=metrics,
        tags=_readable(tags) | _who(winner) | scores | _plugin_tags(evidence),
        text=text,
        alias=request.alias,
        expected=None if request.is_candidate else evidence.rival,
        why=_why(plan, request, evidence),
    )


def _about(plan: PromotionPlan, name: str) -> str:
    """What the registered model is, whatever its version."""
    inputs = ", ".join(plan.data.modalities)
    return (
        f"From {inputs} to a prediction ({plan.data.task}): models of the space "
        f"`{plan.space_name}` over the data set `{plan.data.name}`.\n\n"
        "Each version is what a promotion registered; its page has its scores, its run the model "
        "card and the recipe that trains it again. `champion` is the version in use:\n\n"
        f"    mlflow.pyfunc.load_model('models:/{name}@champion')"
    )


def _readable(tags: Mapping[str, str]) -> dict[str, str]:
    """A version's tags; what was installed and where is in its recipe and on its run."""
    return {k: v for k, v in tags.items() if not k.startswith("version.") and k != "machine"}


def _who(winner: Candidate) -> dict[str, str]:
    """The trial, or the baseline by its name and origin; a trial that is ERM says so as well."""
    if winner.baseline:
        return {"baseline": winner.baseline}
    is_plain = is_erm(winner.record.config)
    named = {"baseline": "the trial itself is empirical risk minimisation"} if is_plain else {}
    return {"trial": str(winner.record.number)} | named


def _reading_tags(heldout: HeldoutFindings) -> dict[str, str]:
    tags = {ACCESSES: str(heldout.accesses)}
    if heldout.tally is not None:
        tags[f"{ACCESSES}_before"] = str(heldout.tally.accesses)
        if heldout.tally.warning:
            tags["heldout_ledger"] = heldout.tally.warning
    return tags


def _force_tags(request: PromotionRequest, evidence: Evidence) -> dict[str, str]:
    """What was overruled; asked for where nothing had to be, force has no effect."""
    failed = failed_gates(evidence.verdicts)
    return {"forced": failed, "forced_why": request.why} if failed else {}


def _plugin_tags(evidence: Evidence) -> dict[str, str]:
    """What predicting needs beside this project; only unimodal networks are needed for it."""
    needed = evidence.ensemble.card.plugins
    return {"needs_plugins": ", ".join(needed)} if needed else {}


def _why(plan: PromotionPlan, request: PromotionRequest, evidence: Evidence) -> str:
    is_forced = failed_gates(evidence.verdicts)
    gates = f"by force: {request.why}" if is_forced else "gates passed"
    best = "; the baseline is the best" if evidence.winner.baseline else ""
    return f"promotion of {plan.sweep} by {plan.rule}; {gates}{best}"


def _time_used(plan: PromotionPlan, began: tuple[float, float]) -> TimeUsed:
    wall, processor = time.perf_counter() - began[0], time.process_time() - began[1]
    return TimeUsed(wall, processor, plan.seconds)
