"""The paper's protocol after its search: the best configuration trained again, tested once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from mlflow import MlflowClient

from cmir.errors import InputError
from cmir.promotion.candidate import again, candidate_name, candidate_of
from cmir.promotion.heldout_scores import read_once
from cmir.promotion.promotion_plan import PromotionPlan
from cmir.promotion.registering import facts_of
from cmir.promotion.trainings import Trainings
from cmir.registry.model_registry import (
    ACCESSES,
    Registry,
    describe_run,
    log_metrics,
    promotion_run,
)
from cmir.runner.studies.records import TrialRecord
from cmir.serving.trained_ensemble import ensemble_of

PROTOCOL, PAPER, TRIAL = "protocol", "paper", "trial"


@dataclass(frozen=True)
class Reproduction:
    """What the protocol gave on one data set.

    Attributes:
        space: name of the sweep file.
        sweep: its name.
        trial: number of the best configuration.
        finished: number of configurations that finished.
        seeds: it was trained again with.
        heldout: `split/metric` and `split/metric_std` over these seeds; empty if one diverged.
        accesses: how often this held-out data has been read, this time included.
        sizes: samples of each split.
        features: size of each modality.
        source: the feature file.
    """

    space: str
    sweep: str
    trial: int
    finished: int
    seeds: tuple[int, ...]
    heldout: Mapping[str, float]
    accesses: int
    sizes: Mapping[str, int]
    features: Mapping[str, int]
    source: str


def reproduce(plan: PromotionPlan, client: MlflowClient, trainings: Trainings) -> Reproduction:
    """Trains the best configuration again, reads held-out data once, and keeps what came out.

    Asked again about the same trial, seeds and data it returns what was kept: held-out data is not
    read a second time. Nothing is registered but the count of test-set accesses.

    Args:
        plan: with the rule of the sweep's own objective; the first of its shortlist is tested.
        client: of the tracking store.
        trainings: that train it.

    Raises:
        InputError: no trial finished.
    """
    if not plan.shortlist:
        raise InputError(
            f"the sweep '{plan.sweep}': a trial must have finished, but none has. The reasons "
            "with its trials."
        )
    best = plan.shortlist[0]
    kept = _kept(plan, best, client)
    if kept is not None:
        return _reproduction(plan, best, *kept)
    return _reproduction(plan, best, *_test(plan, best, client, trainings))


def _test(
    plan: PromotionPlan, best: TrialRecord, client: MlflowClient, trainings: Trainings
) -> tuple[int, Mapping[str, float]]:
    # As in promotion: threads that spin for each other cost more than they save.
    torch.set_num_threads(1)
    trained = trainings.train(again([best], plan.seeds))
    candidate = candidate_of(best, trained[candidate_name(best)])
    registry = Registry(client, plan.model_name)
    if candidate.result is None:
        return registry.accesses(), {}
    with promotion_run(client, plan.space_name, plan.sweep, plan.parent_run) as run:
        ensemble, purpose = ensemble_of(candidate.result, plan.data), "the paper's protocol"
        found = read_once(plan, ensemble, registry, f"{purpose} on {plan.sweep}")
        accesses, heldout = found.accesses, found.scores
        tags = facts_of(plan) | _identity(plan, best) | {ACCESSES: str(accesses)}
        text = f"The paper's protocol on `{plan.data.name}`: trial {best.number}, trained again."
        describe_run(
            client, run, params=best.trial(plan.seeds).flat(), tags=tags, text=text, data=plan.data
        )
        log_metrics(client, run, {**candidate.result.metrics, **heldout})
    return accesses, heldout


def _identity(plan: PromotionPlan, best: TrialRecord) -> dict[str, str]:
    """The tags by which an earlier test of the same is known."""
    own = {PROTOCOL: PAPER, TRIAL: str(best.number)}
    facts = facts_of(plan)
    return own | {key: facts[key] for key in ("sweep", "seeds", "data_checksum")}


def _kept(
    plan: PromotionPlan, best: TrialRecord, client: MlflowClient
) -> tuple[int, Mapping[str, float]] | None:
    experiment = client.get_experiment_by_name(plan.space_name)
    if experiment is None:
        return None
    wanted = [f"tags.`{key}` = '{value}'" for key, value in _identity(plan, best).items()]
    wanted.append("attributes.status = 'FINISHED'")
    runs = client.search_runs([experiment.experiment_id], " and ".join(wanted), max_results=1)
    if not runs:
        return None
    metrics = {k: v for k, v in runs[0].data.metrics.items() if "_test/" in k}
    return int(runs[0].data.tags[ACCESSES]), metrics


def _reproduction(
    plan: PromotionPlan, best: TrialRecord, accesses: int, heldout: Mapping[str, float]
) -> Reproduction:
    return Reproduction(
        space=plan.space_name,
        sweep=plan.sweep,
        trial=best.number,
        finished=plan.finished,
        seeds=plan.seeds,
        heldout=heldout,
        accesses=accesses,
        sizes=plan.dataset.sizes,
        features={name: modality.size for name, modality in plan.data.modalities.items()},
        source=_source(plan),
    )


def _source(plan: PromotionPlan) -> str:
    if plan.is_synthetic:
        return "the built-in generator"
    return str(plan.dataset.manifest.source.get("file", "no file recorded"))
