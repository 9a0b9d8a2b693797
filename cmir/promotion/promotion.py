"""From a sweep to a registered model version, or to a refusal with its reasons."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from mlflow import MlflowClient

from cmir.evaluation.paired_tests import Difference
from cmir.promotion.baselines import known_baseline, noise_training
from cmir.promotion.candidate import (
    Candidate,
    again,
    candidate_name,
    candidate_of,
    winner_of,
    with_measures,
)
from cmir.promotion.evidence import Court, Evidence, champion_again, judge, judged_alias
from cmir.promotion.gates import (
    Verdict,
    enough_seeds,
    enough_trials,
    is_better,
    opponent,
    trained_through,
    unchanged_champion,
)
from cmir.promotion.heldout_scores import HeldoutFindings
from cmir.promotion.promotion_plan import PromotionPlan, PromotionRequest
from cmir.promotion.registering import PROMOTION, Judged, facts_of, params_of, register_winner
from cmir.promotion.report.artifacts import artifacts
from cmir.promotion.report.promotion_report import failed_gates, refusal
from cmir.promotion.trainings import RunnerTrainings, Trainings
from cmir.registry.alias_history import OvertakenError
from cmir.registry.model_registry import Registry, describe_run, log_metrics, promotion_run
from cmir.runner.provenance import provenance
from cmir.runner.runner import Display, Runner, TrackedRun
from cmir.runner.scheduling.placement import Placement


@dataclass(frozen=True, eq=False)
class PromotionOutcome:
    """How a promotion ended.

    Attributes:
        status: registered; refused by a gate; or dry run, which stopped before held-out data.
        plan: what it started from.
        verdicts: of the gates that were reached.
        candidates: the trials that were trained again.
        winner: the best of them, or the baseline where that is not better.
        findings: of the one test-set access.
        version: registered, with its alias; of a refusal: left without it, because on a server
            another promotion was faster by less than this test-set access.
        may_be_candidate: of a refusal: whether the winner only lacks certainty, and may be
            registered as the candidate.
    """

    status: Literal["registered", "refused", "dry run"]
    plan: PromotionPlan
    verdicts: Sequence[Verdict]
    candidates: Sequence[Candidate] = ()
    winner: Candidate | None = None
    findings: HeldoutFindings = field(default_factory=HeldoutFindings)
    version: str | None = None
    may_be_candidate: bool = False

    @property
    def heldout(self) -> Mapping[str, float]:
        """Scores of the one test-set access, see `heldout_scores`."""
        return self.findings.scores

    @property
    def accesses(self) -> int:
        """How often this held-out data has been read, this time included."""
        return self.findings.accesses


def promote(
    plan: PromotionPlan,
    request: PromotionRequest,
    client: MlflowClient,
    trainings: Trainings,
    on_step: Callable[[str], None] = lambda what: None,
) -> PromotionOutcome:
    """Trains the shortlist again, judges the best, reads held-out data once and registers.

    The gates that need no training come first: a sweep that cannot pass costs nothing. What has to
    be trained and is known from the start, baseline and champion included, trains side by side.

    Args:
        plan: from `plan_promotion`.
        request: what was asked for.
        client: of the tracking store.
        trainings: that train.
        on_step: told of what is done next, in words.
    """
    began = (time.perf_counter(), time.process_time())
    verdicts = [
        enough_trials(plan.finished, plan.gates),
        enough_seeds(len(plan.seeds), plan.gates),
    ]
    if not (_all_passed(verdicts) or request.force):
        return _refuse(PromotionOutcome("refused", plan, verdicts), request, client, began)
    # Threads that spin for each other while other programs run cost up to 25 times one thread.
    torch.set_num_threads(1)
    registry = Registry(client, plan.model_name)
    alias = judged_alias(request.alias)
    court = Court(plan, client, registry, alias, trainings, on_step, request.is_candidate)
    candidates = _candidates(plan, court)
    winner = winner_of(candidates, plan.ranking)
    verdicts.append(trained_through([candidate.fault for candidate in candidates]))
    if winner is None:
        lost = PromotionOutcome("refused", plan, verdicts, candidates)
        return _refuse(lost, request, client, began)
    on_step("the gates: noise, baseline, groups, champion")
    trained = sum(candidate.result is not None for candidate in candidates)
    evidence = judge(court, winner, to_the_end=request.force, candidates=trained)
    evidence = replace(evidence, verdicts=[*verdicts, *evidence.verdicts])
    outcome = PromotionOutcome("dry run", plan, evidence.verdicts, candidates, evidence.winner)
    if not (_all_passed(evidence.verdicts) or request.force):
        unsure = lacks_certainty(evidence.verdicts, evidence.differences.get(plan.ood_metric), plan)
        outcome = replace(outcome, status="refused", may_be_candidate=unsure)
        return _refuse(outcome, request, client, began)
    if request.dry_run:
        return outcome
    return _register(outcome, request, evidence, court, began)


def trainings_of(
    plan: PromotionPlan, placement: Placement, storage: str | None, display: Display, log: bool
) -> Trainings:
    """The trainings of a promotion, kept beside its sweep.

    Args:
        plan: names sweep and data.
        placement: where they run.
        storage: of the sweep's study; None: a journal file.
        display: told of what happens.
        log: whether they appear in MLflow.
    """
    name = f"{plan.sweep}.promotion"
    tags = provenance() | {"sweep": plan.sweep, "kind": "promotion trainings"}
    tracked = TrackedRun(
        plan.space_name,
        {"objective": plan.objective},
        tags,
        kind="promotion training",
        source="workflows/promote.py",
    )
    runner = Runner(plan.paths, placement, storage)
    return RunnerTrainings(runner, name, plan.data, tracked if log else None, display)


def _candidates(plan: PromotionPlan, court: Court) -> list[Candidate]:
    """The shortlist with the fresh seeds; what the gates will need is trained beside it."""
    court.on_step("training: the shortlist, the baseline, the champion")
    shortlist = again(plan.shortlist, plan.seeds)
    baseline = {} if plan.gates.against_plain == "none" else known_baseline(plan)
    trained = court.trainings.train({**shortlist, **baseline, **champion_again(court)})
    again_trained = [candidate_of(one, trained[candidate_name(one)]) for one in plan.shortlist]
    return [with_measures(one, plan.data, plan.ranking) for one in again_trained]


def _register(
    outcome: PromotionOutcome,
    request: PromotionRequest,
    evidence: Evidence,
    court: Court,
    began: tuple[float, float],
) -> PromotionOutcome:
    plan, winner = outcome.plan, outcome.winner
    assert winner is not None
    others = [evidence.baseline] if evidence.baseline is not None else []
    if winner.record.scheme != "noise":
        noise = noise_training(plan, court.trainings)
        others += [noise] if noise is not None else []
    court.on_step("scores under corruption, and what the two parts hold")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shown = artifacts(plan, winner, evidence, others)
    judged = Judged(outcome.candidates, winner, evidence, shown, began, device)
    court.on_step("held-out data, once, and the registry")
    try:
        findings, version = register_winner(plan, request, judged, court.registry, court.client)
    except OvertakenError as overtaken:
        verdicts = [*evidence.verdicts, unchanged_champion(overtaken.expected, overtaken.found)]
        refused = replace(outcome, status="refused", verdicts=verdicts)
        return _refuse(refused, request, court.client, began)
    return replace(outcome, status="registered", findings=findings, version=version)


def _refuse(
    outcome: PromotionOutcome,
    request: PromotionRequest,
    client: MlflowClient,
    began: tuple[float, float],
) -> PromotionOutcome:
    """Leaves a trace of the refusal in MLflow, unless it was only a rehearsal."""
    if request.dry_run:
        return outcome
    plan, winner = outcome.plan, outcome.winner
    reasons = failed_gates(outcome.verdicts)
    seconds = time.perf_counter() - began[0]
    with promotion_run(client, plan.space_name, plan.sweep, plan.parent_run, seconds) as run:
        describe_run(
            client,
            run,
            params=params_of(plan, winner),
            tags={**facts_of(plan), PROMOTION: "refused", "reasons": reasons},
            text=refusal(plan, outcome.candidates, outcome.verdicts),
            data=plan.data,
        )
        if winner is not None and winner.result is not None:
            log_metrics(client, run, winner.result.metrics)
    return outcome


def lacks_certainty(
    verdicts: Sequence[Verdict], found: Difference | None, plan: PromotionPlan
) -> bool:
    """Whether a winner is better than the baseline and fails for not being surely so alone."""
    failed = [verdict.name for verdict in verdicts if not verdict.passed]
    if found is None or failed != [f"{plan.ood_metric} against {opponent(plan.gates)}"]:
        return False
    return is_better(found, plan.ood_metric) and plan.gates.against_plain == "confident"


def _all_passed(verdicts: Sequence[Verdict]) -> bool:
    return all(verdict.passed for verdict in verdicts)
