"""What a winner is compared with: plain training, the champion, the paper's scheme.

All are trained on the same data with the same fresh seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cmir.config import TrialConfig, trial_config
from cmir.method.training.reports import TrialResult
from cmir.promotion.candidate import Candidate
from cmir.promotion.promotion_plan import PromotionPlan
from cmir.promotion.selection import better_sign
from cmir.promotion.trainings import Trainings
from cmir.runner.records import TrialRecord
from cmir.serving.predictor import Ensemble
from cmir.serving.trained_ensemble import ensemble_of

CONSTRAINTS = ("loss.invariance", "loss.mutual_information", "loss.reconstruction")
SCHEMES = ("environments.", "loss.penalty", "loss.group_dro_step", "loss.prediction_views")
FACTORS = (1 / 3, 1.0, 3.0)


@dataclass(frozen=True, eq=False)
class Contender:
    """A trained model that a winner is compared with.

    Attributes:
        name: what it is, in a few words.
        origin: where its settings come from.
        ensemble: its seeds.
    """

    name: str
    origin: str
    ensemble: Ensemble


def plain(config: TrialConfig) -> TrialConfig:
    """The same sizes and optimiser without views, partition and constraints."""
    kept = {
        key: value
        for key, value in config.flat().items()
        if key not in ("objective", "seeds") and not key.startswith(SCHEMES)
    }
    nothing = dict.fromkeys(CONSTRAINTS, 0.0)
    return trial_config(
        {**kept, **nothing}, "plain training", objective=config.objective, seeds=config.seeds
    )


def is_plain(config: TrialConfig) -> bool:
    """Whether nothing but the prediction loss trains it.

    Example:
        >>> is_plain(TrialConfig()), is_plain(plain(TrialConfig()))
        (False, True)
    """
    environments, loss = config.environments, config.loss
    is_penalised = environments.partition != "none" and loss.penalty_weight > 0
    uses_views = environments.views > 0 and (loss.invariance > 0 or loss.prediction_views == "all")
    others = loss.mutual_information > 0 or loss.reconstruction > 0
    return not (is_penalised or uses_views or others)


def has_no_scheme(record: TrialRecord) -> bool:
    """Whether a trial has neither views nor a partition."""
    return record.scheme == "none"


def known_baseline(plan: PromotionPlan) -> dict[str, TrialConfig]:
    """The baseline that does not depend on the winner, by its origin; empty if there is none.

    The first that exists of:

    1. the best trial of the sweeps that tuned plain training for an ablation of this space, on the
       same data and objective: as many trials as the sweep itself;
    2. the best trial of the sweep without views and partition, its constraints at zero.
    """
    for origin, records in (
        ("of the tuning of plain training", plan.tuned_plain),
        (
            f"of {plan.sweep}, constraints at zero",
            [record for record in plan.ranked if has_no_scheme(record)],
        ),
    ):
        if records:
            config = plain(records[0].trial(plan.seeds))
            return {f"trial {records[0].number} {origin}": config}
    return {}


def plain_training(
    plan: PromotionPlan, winner: Candidate, trainings: Trainings
) -> Contender | None:
    """Plain training of about equal budget, with the fresh seeds; None if all of it diverged.

    `known_baseline`, else the winner without views, partition and constraints, the best of a
    third, the whole and three times its learning rate.
    """
    choices = known_baseline(plan)
    if not choices:
        base = plain(winner.record.trial(plan.seeds))
        rates = [factor * base.training.learning_rate for factor in FACTORS]
        sizes = f"trial {winner.record.number}'s sizes"
        choices = {f"{sizes}, learning rate {rate:.2g}": with_rate(base, rate) for rate in rates}
    return _trained(plan, choices, trainings)


def noise_training(plan: PromotionPlan, trainings: Trainings) -> Contender | None:
    """The sweep's best trial with the paper's noise environments and no partition, if there is one.

    None as well where it diverges.
    """
    record = next((record for record in plan.ranked if record.scheme == "noise"), None)
    if record is None:
        return None
    choices = {f"trial {record.number} of {plan.sweep}": record.trial(plan.seeds)}
    return _trained(plan, choices, trainings, "noise environments")


def with_rate(config: TrialConfig, rate: float) -> TrialConfig:
    """The same configuration with another learning rate."""
    training = config.training.model_copy(update={"learning_rate": rate})
    return config.model_copy(update={"training": training})


def _trained(
    plan: PromotionPlan,
    choices: Mapping[str, TrialConfig],
    trainings: Trainings,
    name: str = "plain training",
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
    return Contender(name, best[1], ensemble_of(best[2], plan.data))
