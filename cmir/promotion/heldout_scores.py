"""The test-set access of a promotion: scores by seed, and of the average that is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cmir.data import HeldoutData, SplitData
from cmir.evaluation.bootstrap_groups import resampled_groups
from cmir.evaluation.paired_tests import Difference
from cmir.method.training.split_scores import split_metrics, summary
from cmir.promotion.comparison import difference, scores_of
from cmir.promotion.promotion_plan import PromotionPlan
from cmir.promotion.selection import metric_of
from cmir.registry.heldout_access import Tally, heldout_splits, read_heldout
from cmir.registry.model_registry import Registry
from cmir.serving.outputs import Scores, averaged
from cmir.serving.predictor import Ensemble

ENSEMBLE = "ensemble_"


@dataclass(frozen=True, eq=False)
class HeldoutFindings:
    """What one test-set access gave; empty where there is nothing to read.

    Attributes:
        scores: see `heldout_scores`.
        differences: winner less the ERM baseline, by `split/metric` of the objective's metric.
        tally: of the accesses before this one; None where there was none.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    differences: Mapping[str, Difference] = field(default_factory=dict)
    tally: Tally | None = None

    @property
    def accesses(self) -> int:
        """How often this data has been read, this time included."""
        return 0 if self.tally is None else self.tally.accesses + 1


def read_once(
    plan: PromotionPlan,
    ensemble: Ensemble,
    registry: Registry,
    purpose: str,
    baseline: Ensemble | None = None,
) -> HeldoutFindings:
    """Reads the held-out splits of a plan once, through the ledger; nothing if there are none.

    Args:
        plan: names data and ledger.
        ensemble: to score.
        registry: that counts the access.
        purpose: for the ledger.
        baseline: scored in the same test-set access.

    Raises:
        InputError: the test-set access could not be counted; nothing was read.
    """
    if not heldout_splits(plan.dataset):
        return HeldoutFindings()

    def measure(data: HeldoutData) -> HeldoutFindings:
        compared = {} if baseline is None else _differences(plan, ensemble, baseline, data)
        return HeldoutFindings(heldout_scores(ensemble, data), compared)

    found, before = read_heldout(
        plan.dataset,
        measure,
        lambda findings: findings.scores,
        registry=registry,
        paths=plan.paths,
        purpose=purpose,
    )
    return HeldoutFindings(found.scores, found.differences, before)


def heldout_scores(ensemble: Ensemble, data: HeldoutData) -> dict[str, float]:
    """Metrics of a model on the held-out splits.

    Returns:
        `split/metric`, the mean over the seeds; `split/metric_std`, their sample deviation;
        `split/ensemble_metric`, of the averaged prediction that the registered model returns.
    """
    found: dict[str, float] = {}
    for name, scores in scores_of(ensemble, data, data.splits).items():
        temperature = ensemble.card.temperature
        found |= split_scores(scores, data.splits[name], data, temperature)
    return found


def split_scores(
    scores: Scores, split: SplitData, data: HeldoutData, temperature: float = 1.0
) -> dict[str, float]:
    """The metrics of `heldout_scores` for one split, of scores `(seed, n)` or `(seed, n, C)`."""
    seeds = summary(split_metrics(scores, split, data.task))
    together = split_metrics(averaged(scores, data.task, temperature), split, data.task)
    return seeds | {
        key.replace("/", f"/{ENSEMBLE}", 1): float(value[0]) for key, value in together.items()
    }


def _differences(
    plan: PromotionPlan, ensemble: Ensemble, baseline: Ensemble, data: HeldoutData
) -> dict[str, Difference]:
    own, other = (scores_of(one, data, data.splits) for one in (ensemble, baseline))
    metric = metric_of(plan.ood_metric)
    return {
        f"{name}/{metric}": difference(own[name], other[name], split, metric, data.task)
        for name, split in data.splits.items()
        if resampled_groups(split).number > 1
    }
