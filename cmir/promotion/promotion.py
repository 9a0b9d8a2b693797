"""From a sweep to a registered model version, or to a refusal with its reasons."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from mlflow import MlflowClient

from cmir.learning.probes import probe
from cmir.learning.reports import EpochReport
from cmir.promotion.candidate import Candidate, train_again, winner_of
from cmir.promotion.ensemble import Ensemble, ensemble_of
from cmir.promotion.gates import (
    Verdict,
    better_than_constant,
    constant_score,
    enough_seeds,
    enough_trials,
    not_worse_than_champion,
    trained_through,
)
from cmir.promotion.heldout import ENSEMBLE, heldout_scores
from cmir.promotion.planning import PromotionPlan, PromotionRequest
from cmir.promotion.probe_report import log_probes, probe_metrics, probe_text
from cmir.promotion.registry import (
    CHECKSUM,
    READINGS,
    Registry,
    describe_run,
    log_metrics,
    promotion_run,
)
from cmir.promotion.report import description, refusal
from cmir.promotion.selection import metric_of
from cmir.sweep.provenance import provenance
from cmir.sweep.records import TrialRecord

# Trial runs carry the tag `outcome`; a promotion is no trial and carries this one.
PROMOTION = "promotion"

OnEpoch = Callable[[TrialRecord, EpochReport], None]


@dataclass(frozen=True, eq=False)
class PromotionOutcome:
    """How a promotion ended.

    Attributes:
        status: registered; refused by a gate; or dry run, which stopped before held-out data.
        plan: what it started from.
        verdicts: of the gates that were reached.
        candidates: the trials that were trained again.
        winner: the best of them.
        heldout: scores of the one reading, see `heldout_scores`.
        readings: how often held-out data has been read under this name, this time included.
        version: registered, with its alias.
    """

    status: Literal["registered", "refused", "dry run"]
    plan: PromotionPlan
    verdicts: Sequence[Verdict]
    candidates: Sequence[Candidate] = ()
    winner: Candidate | None = None
    heldout: Mapping[str, float] = field(default_factory=dict)
    readings: int = 0
    version: str | None = None


def promote(
    plan: PromotionPlan, request: PromotionRequest, client: MlflowClient, on_epoch: OnEpoch
) -> PromotionOutcome:
    """Trains the shortlist again, judges the best, reads held-out data once and registers.

    The gates that need no training come first: a sweep that cannot pass costs nothing.

    Args:
        plan: from `plan_promotion`.
        request: what was asked for.
        client: of the tracking store.
        on_epoch: told of every epoch.
    """
    registry = Registry(client, plan.model_name)
    verdicts = [
        enough_trials(plan.finished, plan.gates),
        enough_seeds(len(plan.seeds), plan.gates),
    ]
    if not _all_passed(verdicts):
        return _refuse(PromotionOutcome("refused", plan, verdicts), request, client)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Threads that spin for each other while other programs run cost up to 25 times one thread.
    torch.set_num_threads(1)
    candidates = [
        train_again(record, plan.data, plan.seeds, device, on_epoch) for record in plan.shortlist
    ]
    winner = winner_of(candidates, plan.metric)
    verdicts.append(trained_through([candidate.fault for candidate in candidates]))
    if winner is not None:
        verdicts += _judge(plan, winner, registry, request.alias)
    if winner is None or not _all_passed(verdicts):
        outcome = PromotionOutcome("refused", plan, verdicts, candidates, winner)
        return _refuse(outcome, request, client)
    if request.dry_run:
        return PromotionOutcome("dry run", plan, verdicts, candidates, winner)
    outcome = PromotionOutcome("registered", plan, verdicts, candidates, winner)
    return _register(outcome, winner, registry, request, client)


def _judge(plan: PromotionPlan, winner: Candidate, registry: Registry, alias: str) -> list[Verdict]:
    metric = plan.ood_metric
    score = winner.score(metric)
    assert score is not None
    return [
        better_than_constant(score, constant_score(plan.data, metric), metric),
        not_worse_than_champion(
            score, metric, registry.champion(alias), plan.data.checksum, plan.gates
        ),
    ]


def _refuse(
    outcome: PromotionOutcome, request: PromotionRequest, client: MlflowClient
) -> PromotionOutcome:
    """Leaves a trace of the refusal in MLflow, unless it was only a rehearsal."""
    if request.dry_run:
        return outcome
    plan, winner = outcome.plan, outcome.winner
    failed = [verdict.name for verdict in outcome.verdicts if not verdict.passed]
    with promotion_run(client, plan.space_name, plan.sweep, plan.parent_run) as run:
        describe_run(
            client,
            run,
            params=_params(plan, winner),
            tags={**facts_of(plan), PROMOTION: "refused", "reasons": ", ".join(failed)},
            text=refusal(plan, outcome.candidates, outcome.verdicts),
            data=plan.data,
        )
        if winner is not None and winner.result is not None:
            log_metrics(client, run, winner.result.metrics)
    return outcome


def _register(
    outcome: PromotionOutcome,
    winner: Candidate,
    registry: Registry,
    request: PromotionRequest,
    client: MlflowClient,
) -> PromotionOutcome:
    plan = outcome.plan
    assert winner.result is not None
    ensemble = ensemble_of(winner.result, plan.data)
    probes = probe(winner.result, plan.data)
    with promotion_run(client, plan.space_name, plan.sweep, plan.parent_run) as run:
        readings, heldout = read_heldout(plan, ensemble, registry)
        text = description(plan, outcome.candidates, winner, outcome.verdicts, heldout, readings)
        text = f"{text}\n\n{probe_text(probes)}"
        facts = facts_of(plan) | {READINGS: str(readings)}
        describe_run(
            client,
            run,
            params=_params(plan, winner),
            tags={**facts, PROMOTION: "registered"},
            text=text,
            data=plan.data,
        )
        client.log_dict(run, {k: list(v) for k, v in winner.result.by_seed.items()}, "by_seed.json")
        log_probes(client, run, probes)
        version = registry.register(
            run,
            ensemble,
            plan.data,
            metrics={**winner.result.metrics, **probe_metrics(probes), **heldout},
            tags=facts
            | {"trial": str(winner.record.number)}
            | recorded_scores(plan.objective, winner.result.metrics, heldout),
            text=text,
            alias=request.alias,
        )
    return PromotionOutcome(
        "registered",
        plan,
        outcome.verdicts,
        outcome.candidates,
        winner,
        heldout,
        readings,
        version,
    )


def read_heldout(
    plan: PromotionPlan, ensemble: Ensemble, registry: Registry
) -> tuple[int, dict[str, float]]:
    """Counts the reading, then reads; where there is nothing to read nothing is counted."""
    if not {"id_test", "ood_test"} & set(plan.dataset.sizes):
        return registry.readings(), {}
    readings = registry.count_reading()
    return readings, heldout_scores(ensemble, plan.dataset.heldout())


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


def _params(plan: PromotionPlan, winner: Candidate | None) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if winner is not None:
        chosen = {"trial": winner.record.number, **winner.record.trial(plan.seeds).flat()}
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


def _all_passed(verdicts: Sequence[Verdict]) -> bool:
    return all(verdict.passed for verdict in verdicts)
