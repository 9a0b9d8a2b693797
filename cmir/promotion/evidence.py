"""What the gates judge: the winner beside the ERM baseline, the champion, and noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow import MlflowClient

from cmir.config import TrialConfig
from cmir.evaluation.paired_tests import Difference
from cmir.method.baseline_recipes import is_erm
from cmir.promotion.baselines import Contender, baseline_training
from cmir.promotion.candidate import Candidate
from cmir.promotion.comparison import (
    GroupChange,
    difference,
    group_changes,
    scores_of,
)
from cmir.promotion.gates import (
    HeldChampion,
    Verdict,
    better_than_baseline,
    better_than_constant,
    constant_score,
    group_margin,
    holds_under_noise,
    no_group_falls,
    not_worse_than_champion,
    opponent,
)
from cmir.promotion.noise_loss import noise_loss
from cmir.promotion.promotion_plan import CHAMPION, PromotionPlan
from cmir.promotion.selection import metric_of
from cmir.promotion.trainings import Trainings
from cmir.registry.model_registry import Registry
from cmir.registry.versions import ensemble_of_version, recipe_of_version, version
from cmir.serving.outputs import Scores
from cmir.serving.predictor import Ensemble
from cmir.serving.trained_ensemble import ensemble_of, with_temperature


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of a winner before held-out data is read.

    Attributes:
        ensemble: the winner's seeds.
        verdicts: of the gates that were reached.
        baseline: with its origin, where it was asked for and did not diverge.
        differences: winner less the ERM baseline, by `split/metric` of validation data.
        groups: of `ood_val`, the one that falls most first.
        rival: version that the gates saw as the alias's holder, empty for none.
    """

    ensemble: Ensemble
    verdicts: list[Verdict]
    baseline: Contender | None = None
    differences: Mapping[str, Difference] = field(default_factory=dict)
    groups: Sequence[GroupChange] = ()
    rival: str = ""


@dataclass(frozen=True, eq=False)
class Court:
    """Where a winner is judged.

    Attributes:
        plan: of the promotion.
        client: of the registry.
        registry: with the champion.
        alias: whose holder must not be better.
        trainings: of the ERM baseline and of the champion.
        on_step: told of what is looked at next.
    """

    plan: PromotionPlan
    client: MlflowClient
    registry: Registry
    alias: str
    trainings: Trainings
    on_step: Callable[[str], None] = lambda what: None


def judge(court: Court, winner: Candidate, *, to_the_end: bool) -> Evidence:
    """Runs the gates on a winner, the cheap ones first.

    Args:
        court: where.
        winner: trained with the fresh seeds.
        to_the_end: look at everything even where an early gate has failed.
    """
    plan, metric = court.plan, court.plan.ood_metric
    assert winner.result is not None
    ensemble = ensemble_of(winner.result, plan.data)
    score = winner.result.metrics[metric]
    constant = constant_score(plan.data, metric)
    verdicts = [better_than_constant(score, constant, metric)]
    if not (verdicts[0].passed or to_the_end):
        return Evidence(ensemble, verdicts)
    loss = noise_loss(ensemble, plan.data, metric, constant)
    verdicts.append(holds_under_noise(loss, metric, plan.gates))
    validation = {name: plan.data.splits[name] for name in ("id_val", "ood_val")}
    scores = scores_of(ensemble, plan.data, validation)
    ensemble = with_temperature(ensemble, scores, plan.data)
    baseline, why = _baseline(court, winner)
    differences: dict[str, Difference] = {}
    groups: list[GroupChange] = []
    if baseline is not None:
        others = scores_of(baseline.ensemble, plan.data, validation)
        differences = {
            f"{name}/{metric_of(metric)}": _difference(plan, scores, others, name, metric)
            for name in validation
        }
        split = plan.data.ood_val
        groups = group_changes(scores["ood_val"], others["ood_val"], split, plan.data.task)
    verdicts += [
        better_than_baseline(score, differences.get(metric), why, metric, plan.gates),
        no_group_falls(groups, group_margin(plan.data, plan.gates), why, opponent(plan.gates)),
    ]
    rival, held = _champion(court, scores)
    verdicts.append(not_worse_than_champion(score, metric, held, plan.gates))
    return Evidence(ensemble, verdicts, baseline, differences, groups, rival)


def _baseline(court: Court, winner: Candidate) -> tuple[Contender | None, str]:
    """The baseline, and what it is or why there is none."""
    gates = court.plan.gates
    if gates.against_plain == "none":
        return None, "not asked for"
    assert winner.result is not None
    if gates.baseline == "plain" and is_erm(winner.result.config):
        return None, "the winner is the ERM baseline itself"
    found = baseline_training(court.plan, winner, court.trainings)
    return (None, f"{opponent(gates)} diverged") if found is None else (found, found.origin)


def _champion(court: Court, scores: Mapping[str, Scores]) -> tuple[str, HeldChampion]:
    """The version that holds the alias, and how the winner compares with it."""
    plan, metric = court.plan, court.plan.ood_metric
    champion = court.registry.champion(court.alias)
    if champion is None:
        return "", HeldChampion("no champion yet")
    named = f"version {champion.version}"
    if champion.development_checksum != plan.data.checksum:
        return champion.version, HeldChampion(f"{named}: other data")
    again, how = _trained_alike(court, champion.version)
    if again is not None:
        others = scores_of(again, plan.data, {"ood_val": plan.data.ood_val})
        found = _difference(plan, scores, others, "ood_val", metric)
        return champion.version, HeldChampion(f"{named}, {how}", found)
    if metric not in champion.scores:
        return champion.version, HeldChampion(f"{named}: not scored")
    held = HeldChampion(f"{named}, {how}", score=champion.scores[metric])
    return champion.version, held


def _trained_alike(court: Court, number: str) -> tuple[Ensemble | None, str]:
    """The champion with the winner's seeds: as registered if it has them, else trained again."""
    one = version(court.client, court.registry.name, number)
    recipe = recipe_of_version(court.client, one)
    if recipe is None:
        return None, "as recorded"
    if recipe.config.seeds == court.plan.seeds:
        return ensemble_of_version(one), "same seeds"
    config = recipe.config.model_copy(update={"seeds": court.plan.seeds})
    result = court.trainings.train({str(one): config})[str(one)].result
    if result is None:
        return None, "diverges with these seeds, as recorded"
    return ensemble_of(result, court.plan.data), "trained again"


def champion_again(court: Court) -> dict[str, TrialConfig]:
    """The champion's training with the winner's seeds, where the gates will need one."""
    champion = court.registry.champion(court.alias)
    if champion is None or champion.development_checksum != court.plan.data.checksum:
        return {}
    one = version(court.client, court.registry.name, champion.version)
    recipe = recipe_of_version(court.client, one)
    if recipe is None or recipe.config.seeds == court.plan.seeds:
        return {}
    return {str(one): recipe.config.model_copy(update={"seeds": court.plan.seeds})}


def _difference(
    plan: PromotionPlan,
    own: Mapping[str, Scores],
    other: Mapping[str, Scores],
    split: str,
    metric: str,
) -> Difference:
    return difference(
        own[split],
        other[split],
        plan.data.splits[split],
        metric_of(metric),
        plan.data.task,
    )


def judged_alias(alias: str) -> str:
    """Whose holder a new version is compared with: a candidate wants to become champion."""
    return CHAMPION if alias == "candidate" else alias
