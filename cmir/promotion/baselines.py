"""The models that a winner is compared with: the ERM baseline, and the paper's noise environments.

All are trained on the same data with the same fresh seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cmir.config import TrialConfig
from cmir.extensions import BASELINES
from cmir.method.baseline_recipes import erm
from cmir.method.training.reports import TrialResult
from cmir.promotion.candidate import Candidate
from cmir.promotion.gates import opponent
from cmir.promotion.promotion_plan import PromotionPlan
from cmir.promotion.selection import better_sign
from cmir.promotion.trainings import Trainings
from cmir.runner.studies.records import TrialRecord
from cmir.serving.predictor import Ensemble
from cmir.serving.trained_ensemble import ensemble_of


@dataclass(frozen=True, eq=False)
class Contender:
    """A trained model that a winner is compared with.

    Attributes:
        name: what it is, in a few words.
        origin: where its settings come from.
        ensemble: its seeds.
        result: of the training that left them.
    """

    name: str
    origin: str
    ensemble: Ensemble
    result: TrialResult


def has_no_scheme(record: TrialRecord) -> bool:
    """Whether a trial has neither views nor a partition."""
    return record.scheme == "none"


def known_baseline(plan: PromotionPlan) -> dict[str, TrialConfig]:
    """The baseline that does not depend on the winner, by its origin; empty if there is none.

    The first that exists of:

    1. the best trial of the sweeps that tuned the ERM baseline for an ablation of this space, on
       the same data and objective: as many trials as the sweep itself;
    2. the best trial of the sweep without views and partition, its constraints at zero.

    Baselines other than `plain` are made from the winner, always.
    """
    if plan.gates.baseline != "plain":
        return {}
    for origin, records in (
        ("of the tuning of the ERM baseline", plan.tuned_baseline),
        (
            f"of {plan.sweep}, constraints at zero",
            [record for record in plan.ranked if has_no_scheme(record)],
        ),
    ):
        if records:
            config = erm(records[0].trial(plan.seeds))
            return {f"trial {records[0].number} {origin}": config}
    return {}


def baseline_training(
    plan: PromotionPlan, winner: Candidate, trainings: Trainings
) -> Contender | None:
    """The baseline of the gates at about equal budget, with the fresh seeds; None if all diverged.

    `known_baseline`, else the best of what the baseline's recipe makes of the winner.
    """
    choices = known_baseline(plan)
    if not choices:
        recipe, number = BASELINES[plan.gates.baseline], winner.record.number
        for config in recipe.make(winner.record.trial(plan.seeds)):
            rate = config.training.learning_rate
            choices[f"trial {number}'s sizes, learning rate {rate:.2g}"] = config
    return _trained(plan, choices, trainings, opponent(plan.gates))


def noise_training(plan: PromotionPlan, trainings: Trainings) -> Contender | None:
    """The sweep's best trial with the paper's noise environments and no partition, if there is one.

    None as well where it diverges.
    """
    record = next((record for record in plan.ranked if record.scheme == "noise"), None)
    if record is None:
        return None
    choices = {f"trial {record.number} of {plan.sweep}": record.trial(plan.seeds)}
    return _trained(plan, choices, trainings, "noise environments")


def _trained(
    plan: PromotionPlan,
    choices: Mapping[str, TrialConfig],
    trainings: Trainings,
    name: str,
) -> Contender | None:
    """The best of several configurations on the gates' metric."""
    best: tuple[float, str, TrialResult] | None = None
    for origin, training in trainings.train(choices).items():
        if training.result is None:
            continue
        worth = better_sign(plan.ood_metric) * training.result.metrics[plan.ood_metric]
        if best is None or worth > best[0]:
            best = (worth, origin, training.result)
    if best is None:
        return None
    return Contender(name, best[1], ensemble_of(best[2], plan.data), best[2])
