"""What the gates judge: the winner, or the baseline that it does not beat, beside all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow import MlflowClient

from cmir.config import TrialConfig
from cmir.evaluation.paired_tests import Difference
from cmir.method.baseline_recipes import is_erm
from cmir.method.training.reports import TrialResult
from cmir.promotion.baselines import Contender, baseline_training
from cmir.promotion.candidate import Candidate, as_candidate
from cmir.promotion.comparison import (
    GroupChange,
    difference,
    group_changes,
    scores_of,
)
from cmir.promotion.gates import (
    HeldChampion,
    Verdict,
    baseline_is_best,
    better_than_baseline,
    better_than_constant,
    constant_score,
    constant_scores,
    group_margin,
    holds_under_noise,
    is_better,
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
from cmir.space.space_file import Gates

VALIDATION = ("id_val", "ood_val")


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of a winner before held-out data is read.

    Attributes:
        winner: whom it is of: the best candidate, or the baseline where that is not better.
        ensemble: the winner's seeds.
        verdicts: of the gates that were reached.
        baseline: with its origin, where it was asked for and did not diverge; where the winner is
            the baseline itself, the candidate that it was compared with.
        differences: winner less the ERM baseline, by `split/metric` of validation data.
        groups: of `ood_val`, the one that falls most first.
        rival: version that the gates saw as the alias's holder, empty for none.
    """

    winner: Candidate
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
        is_for_candidate: whether the version only becomes the candidate, which must be better than
            the baseline on average, however sure that is.
    """

    plan: PromotionPlan
    client: MlflowClient
    registry: Registry
    alias: str
    trainings: Trainings
    on_step: Callable[[str], None] = lambda what: None
    is_for_candidate: bool = False

    @property
    def gates(self) -> Gates:
        """Those of the sweep file, as they are for this alias."""
        gates = self.plan.gates
        if self.is_for_candidate and gates.against_plain == "confident":
            return gates.model_copy(update={"against_plain": "better"})
        return gates


@dataclass(frozen=True, eq=False)
class _Seat:
    """A model before the gates: its seeds, and their scores by validation split."""

    candidate: Candidate
    ensemble: Ensemble
    scores: Mapping[str, Scores]

    @property
    def result(self) -> TrialResult:
        assert self.candidate.result is not None
        return self.candidate.result


@dataclass(frozen=True, eq=False)
class _Compared:
    """How two models differ on validation data, and in each group of `ood_val`."""

    differences: Mapping[str, Difference]
    groups: Sequence[GroupChange]


def judge(court: Court, winner: Candidate, *, to_the_end: bool, candidates: int = 1) -> Evidence:
    """Runs the gates on a winner, the cheap ones first; on the baseline where that is no worse.

    Args:
        court: where.
        winner: trained with the fresh seeds.
        to_the_end: look at everything even where an early gate has failed, and at this winner
            whatever the baseline is.
        candidates: of which it is the best.
    """
    plan, metric, gates = court.plan, court.plan.ood_metric, court.gates
    seat = _seat(court, winner)
    verdicts = [_against_constant(court, seat)]
    if not (verdicts[0].passed or to_the_end):
        return Evidence(winner, seat.ensemble, verdicts)
    baseline, why = _baseline(court, winner)
    compared = _Compared({}, [])
    if baseline is not None:
        other = _seat(court, as_candidate(winner, baseline.result, _title(baseline)))
        compared = _compared(plan, seat, other)
        if not (is_better(compared.differences[metric], metric) or to_the_end):
            return _judge_baseline(court, other, seat)
    score, found = seat.result.metrics[metric], compared.differences.get(metric)
    margin = group_margin(plan.data, gates)
    verdicts += [
        _under_noise(court, seat),
        better_than_baseline(score, found, why, metric, gates, candidates),
        no_group_falls(compared.groups, margin, why, opponent(gates)),
    ]
    rival, held = _champion(court, seat.scores)
    verdicts.append(not_worse_than_champion(score, metric, held, gates))
    shown = compared.differences, compared.groups
    return Evidence(winner, seat.ensemble, verdicts, baseline, *shown, rival)


def _judge_baseline(court: Court, seat: _Seat, beaten: _Seat) -> Evidence:
    """The baseline before the gates that do not name it, beside the sweep's winner."""
    plan, metric = court.plan, court.plan.ood_metric
    compared = _compared(plan, seat, beaten)
    score, found = seat.result.metrics[metric], compared.differences[metric]
    rival, held = _champion(court, seat.scores)
    title = beaten.candidate.title
    verdicts = [
        _against_constant(court, seat),
        _under_noise(court, seat),
        baseline_is_best(score, found, title, metric, court.gates),
        not_worse_than_champion(score, metric, held, court.gates),
    ]
    origin = f"the best candidate of {plan.sweep}"
    other = Contender(title, origin, beaten.ensemble, beaten.result)
    shown = compared.differences, compared.groups
    return Evidence(seat.candidate, seat.ensemble, verdicts, other, *shown, rival)


def _seat(court: Court, candidate: Candidate) -> _Seat:
    data = court.plan.data
    assert candidate.result is not None
    ensemble = ensemble_of(candidate.result, data)
    scores = scores_of(ensemble, data, {name: data.splits[name] for name in VALIDATION})
    return _Seat(candidate, with_temperature(ensemble, scores, data), scores)


def _title(baseline: Contender) -> str:
    return f"{baseline.name} ({baseline.origin})"


def _compared(plan: PromotionPlan, own: _Seat, other: _Seat) -> _Compared:
    metric, split = plan.ood_metric, plan.data.ood_val
    differences = {
        f"{name}/{metric_of(metric)}": _difference(plan, own.scores, other.scores, name, metric)
        for name in VALIDATION
    }
    scores = own.scores[split.name], other.scores[split.name]
    return _Compared(differences, group_changes(*scores, split, plan.data.task))


def _against_constant(court: Court, seat: _Seat) -> Verdict:
    data, metric = court.plan.data, court.plan.ood_metric
    constant = constant_scores(data, metric)
    found = difference(seat.scores["ood_val"], constant, data.ood_val, metric_of(metric), data.task)
    score, level = seat.result.metrics[metric], constant_score(data, metric)
    return better_than_constant(score, level, metric, found)


def _under_noise(court: Court, seat: _Seat) -> Verdict:
    data, metric = court.plan.data, court.plan.ood_metric
    loss = noise_loss(seat.ensemble, data, metric, constant_score(data, metric))
    return holds_under_noise(loss, metric, court.gates)


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
