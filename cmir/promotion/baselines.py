"""What a winner is compared with: plain training, the champion, the paper's scheme.

All are trained on the same data with the same fresh seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.extensions import BASELINES
from cmir.method.baseline_recipes import plain
from cmir.method.training.fitting import fit
from cmir.method.training.reports import Diverged, EpochReport, TrialResult
from cmir.promotion.candidate import Candidate
from cmir.promotion.gates import opponent
from cmir.promotion.promotion_plan import PromotionPlan
from cmir.promotion.selection import better_sign
from cmir.runner.records import TrialRecord
from cmir.serving.predictor import Ensemble, ensemble_of

OnTraining = Callable[[str, EpochReport], None]


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


def has_no_scheme(record: TrialRecord) -> bool:
    """Whether a trial has neither views nor a partition."""
    return record.scheme == "none"


def baseline_training(
    plan: PromotionPlan,
    winner: Candidate,
    candidates: Sequence[Candidate],
    device: str,
    on_training: OnTraining,
) -> Contender | None:
    """The baseline that the gates name, with the fresh seeds; None if all of it diverged."""
    if plan.gates.baseline == "plain":
        return plain_training(plan, winner, candidates, device, on_training)
    return _by_recipe(plan, winner, candidates, device, on_training)


def plain_training(
    plan: PromotionPlan,
    winner: Candidate,
    candidates: Sequence[Candidate],
    device: str,
    on_training: OnTraining,
) -> Contender | None:
    """Plain training of about equal budget, with the fresh seeds; None if all of it diverged.

    The first that exists of:

    1. the best trial of the sweeps that tuned plain training for an ablation of this space, on the
       same data and objective: as many trials as the sweep itself;
    2. the best trial of the sweep without views and partition, its constraints at zero;
    3. the winner without views, partition and constraints, the best of a third, the whole and three
       times its learning rate.
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
            name = f"trial {records[0].number} {origin}"
            return _trained(plan, [(name, config)], candidates, device, on_training)
    return _by_recipe(plan, winner, candidates, device, on_training)


def _by_recipe(
    plan: PromotionPlan,
    winner: Candidate,
    candidates: Sequence[Candidate],
    device: str,
    on_training: OnTraining,
) -> Contender | None:
    """The best configuration that the baseline's recipe makes of the winner's."""
    record, name = winner.record, plan.gates.baseline
    choices = [
        (
            f"trial {record.number}'s sizes, learning rate {config.training.learning_rate:.2g}",
            config,
        )
        for config in BASELINES[name].make(record.trial(plan.seeds))
    ]
    return _trained(plan, choices, candidates, device, on_training, opponent(plan.gates))


def noise_training(
    plan: PromotionPlan, candidates: Sequence[Candidate], device: str, on_training: OnTraining
) -> Contender | None:
    """The sweep's best trial with the paper's noise environments and no partition, if there is one.

    None as well where it diverges.
    """
    record = next((record for record in plan.ranked if record.scheme == "noise"), None)
    if record is None:
        return None
    choice = (f"trial {record.number} of {plan.sweep}", record.trial(plan.seeds))
    return _trained(plan, [choice], candidates, device, on_training, "noise environments")


def trained_again(
    data: DevelopmentData, config: TrialConfig, device: str, report: Callable[[EpochReport], None]
) -> TrialResult | None:
    """The result of a training, None if it diverged or does not fit the data."""
    try:
        for epoch in fit(data, config, device):
            report(epoch)
    except (Diverged, InputError):
        return None
    return epoch.result


def _trained(
    plan: PromotionPlan,
    choices: Sequence[tuple[str, TrialConfig]],
    candidates: Sequence[Candidate],
    device: str,
    on_training: OnTraining,
    name: str = "plain training",
) -> Contender | None:
    """The best of several configurations on the gates' metric; what was trained is not again."""
    known: Mapping[str, TrialResult] = {
        one.result.config.fingerprint: one.result for one in candidates if one.result is not None
    }
    best: tuple[float, str, TrialResult] | None = None
    for origin, config in choices:
        result = known.get(config.fingerprint) or trained_again(
            plan.data, config, device, lambda report: on_training(name, report)
        )
        if result is None:
            continue
        worth = better_sign(plan.ood_metric) * result.metrics[plan.ood_metric]
        if best is None or worth > best[0]:
            best = (worth, origin, result)
    if best is None:
        return None
    return Contender(name, best[1], ensemble_of(best[2], plan.data))
