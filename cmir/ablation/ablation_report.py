"""An ablation in Markdown, for its page in MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from cmir.ablation.ablation_plan import AblationPlan
from cmir.ablation.ablation_table import Cells, difference_cells, score_cells
from cmir.ablation.arm_heldout_scores import HeldoutAccess
from cmir.ablation.arm_results import VALIDATION
from cmir.evaluation.bootstrap_groups import resampled_groups
from cmir.pages import page


def description(
    plan: AblationPlan,
    table: pl.DataFrame,
    heldout: pl.DataFrame | None,
    access: HeldoutAccess | None,
) -> str:
    """What was taken apart, how it was compared, and the tables."""
    held: tuple[Cells, ...] = ()
    if heldout is not None and access is not None:
        held = _both(heldout, plan, access.splits, "on held-out data")
    return page(
        "ablation/ablation.md.j2",
        plan=plan,
        how_to_read=how_to_read(plan),
        definitions=[DEFINITIONS[family] for family in ("noise", *plan.families)],
        validation=_both(table, plan, VALIDATION, "on validation data"),
        access="" if access is None else heldout_sentence(access),
        heldout=held,
    )


def _both(
    table: pl.DataFrame, plan: AblationPlan, splits: Sequence[str], title: str
) -> tuple[Cells, Cells]:
    scores = score_cells(table, plan.metric, splits, title)
    return scores, difference_cells(table, plan.metric, splits)


def how_to_read(plan: AblationPlan) -> str:
    """What the numbers are, a sentence or two a line."""
    groups = {name: resampled_groups(plan.data.splits[name]) for name in VALIDATION}
    resampled = ", ".join(f"{name} {g.number} ({g.what})" for name, g in groups.items())
    return page("ablation/how_to_read.md.j2", seeds=plan.full.seeds, resampled=resampled)


DEFINITIONS: Mapping[str, str] = {
    "noise": "Noise of unit variance meets unimodal vectors whose scale each arm has learned: an "
    "arm with longer vectors is hurt less.",
    "constraints": "Constraints: without the invariance there are no views at all, and without its "
    "weight those that the prediction looks at stay. A term of weight zero has no gradient, so "
    "that both forms of the other constraints are one training.",
    "plain": "The ERM baseline has no views, no partition and no constraint; its hidden layers are "
    "as wide as gives it the number of parameters that the full configuration trains. Tuned: the "
    "best of a sweep of its own over what else the space searches.",
    "random": "The control: a random partition with the number of groups and the penalty of the "
    "full configuration.",
    "count": "K views: the budget is the strength of the last one. Noise has alpha_1 * e in view "
    "e: fixed means alpha_1 = budget / K, growing leaves alpha_1. Erase and swap have rate * e / "
    "K: fixed leaves the rate, growing multiplies it by K over that of the full "
    "configuration, up to 1.",
    "schemes": "Schemes keep all other settings of the full configuration, which were tuned for "
    "its own scheme.",
    "penalties": "Penalties share one weight, tuned for none of the others, on one partition.",
}


def heldout_sentence(access: HeldoutAccess) -> str:
    """How often held-out data has been read."""
    if not access.is_new:
        return f"Held-out data was not read again; it has been read {access.accesses} times."
    before = access.accesses - 1
    times = {1: "once", 2: "twice"}.get(before, f"{before} times")
    earlier = f"been read {times} before" if before else "never been read before"
    warning = f" Beware: {access.warning}" if access.warning else ""
    return f"Held-out data was read once for all of them; it had {earlier}.{warning}"
