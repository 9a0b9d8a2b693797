"""Promotions of sweeps with two objectives, and of such that cross-validate over groups."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from cmir.promotion.promotion import PromotionOutcome, promote
from cmir.promotion.promotion_plan import PromotionRequest, plan_promotion
from cmir.promotion.report.promotion_report import candidate_columns, candidate_rows
from cmir.promotion.selection import Scored
from cmir.promotion.trainings import LocalTrainings
from cmir.runner.paths import Paths
from tests.support.small_promotion import OPEN_GATES, finished_sweep, open_store

PAIR = ["ood_val/mae", "split/leak"]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return open_store(tmp_path, monkeypatch)


def rehearsed(client: MlflowClient, rule: str = "") -> PromotionOutcome:
    request = PromotionRequest(rule=rule, seeds=2, top=2, dry_run=True)
    plan = plan_promotion(request, Paths())
    return promote(plan, request, client, LocalTrainings(plan.data))


@pytest.mark.parametrize(("rule", "name"), [("", "within_error"), ("knee", "knee")])
def test_the_rule_takes_the_shortlist_and_the_winner_among_the_fresh_seeds(
    client: MlflowClient, tmp_path: Path, rule: str, name: str
) -> None:
    finished_sweep(tmp_path, objective=PAIR, gates=OPEN_GATES)
    outcome = rehearsed(client, rule)
    plan, results = outcome.plan, [one.result for one in outcome.candidates]
    assert (plan.rule, plan.objective, plan.ranking.metrics) == (name, PAIR[0], tuple(PAIR))
    assert outcome.winner is not None
    scored = [Scored(one.metrics, 2) for one in results if one is not None]
    assert outcome.winner is outcome.candidates[plan.ranking.places(scored)[0]]
    rows = candidate_rows(plan, outcome.candidates)
    assert candidate_columns(plan)[3:5] == PAIR
    assert float(rows[0][4]) == pytest.approx(scored[0].metrics["split/leak"], abs=1e-4)


def test_a_cross_validated_sweep_is_promoted_by_its_own_folds(
    client: MlflowClient, tmp_path: Path
) -> None:
    measures = ["unlabelled/disagreement"]
    finished_sweep(tmp_path, objective="cv/mae", measures=measures, gates=OPEN_GATES)
    outcome = rehearsed(client)
    assert (outcome.plan.rule, outcome.plan.metric) == ("cv", "cv/mae")
    assert outcome.status == "dry run", outcome.verdicts
    assert all(one.score("cv/mae") is not None for one in outcome.candidates)
    ranked = rehearsed(client, "mean_rank").plan
    assert ranked.ranking.metrics == ("cv/mae", "unlabelled/disagreement")
