"""The artifacts of a promotion: robustness tables, probes, pictures, the ablation of its sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from mlflow import MlflowClient

from cmir.evaluation.probes.probing import Probes, probe
from cmir.method.baseline_recipes import is_erm
from cmir.metrics.confusion import confusions
from cmir.promotion.baselines import Contender
from cmir.promotion.candidate import Candidate
from cmir.promotion.comparison import scores_of
from cmir.promotion.evidence import Evidence
from cmir.promotion.promotion_plan import PromotionPlan
from cmir.promotion.report.class_tables import ClassTables, class_tables
from cmir.promotion.report.ensemble_robustness import ensemble_robustness
from cmir.promotion.report.error_plot import confusion_picture, error_picture
from cmir.promotion.report.group_plot import group_picture
from cmir.promotion.report.probe_report import log_probes
from cmir.promotion.report.reliability_plot import reliability_curve, reliability_picture
from cmir.promotion.report.robustness_plot import robustness_curves
from cmir.serving.outputs import Scores, averaged, sigmoid
from cmir.serving.predictor import Ensemble
from cmir.sweep.modalities.modality_findings import (
    Asked,
    ModalityFindings,
    judged_modalities,
    modality_findings,
)
from cmir.sweep.modalities.modality_picture import modality_picture
from cmir.sweep.modalities.modality_text import as_values
from cmir.sweep.plot_axes import stamp

WINNER = "this model"
VERDICTS = "modalities.json"
ABLATION_FILES = ("ablation.md", "forest.png", "ablation.csv", "heldout.csv")


@dataclass(frozen=True, eq=False)
class Artifacts:
    """What development data shows of a winner, beyond its gates.

    Attributes:
        robustness: name of a model to its table on `ood_val`; the winner's is the first.
        probes: of the winner.
        figures: by file name.
        ablation: files of the ablation of its sweep, empty if there is none.
        classes: what the served prediction gets right on `ood_val`; None for a number, or 0 and 1.
        of: what the pictures are of, in words that stand on each.
        modalities: the verdict on each; None where there is one modality.
    """

    robustness: Mapping[str, pl.DataFrame]
    probes: Probes
    figures: Mapping[str, Figure]
    ablation: Sequence[Path]
    classes: ClassTables | None = None
    of: str = ""
    modalities: ModalityFindings | None = None


def artifacts(
    plan: PromotionPlan, winner: Candidate, evidence: Evidence, others: Sequence[Contender]
) -> Artifacts:
    """Measures and draws; trains nothing and reads no held-out data.

    Args:
        plan: of the promotion.
        winner: with its result.
        evidence: of the gates.
        others: models whose robustness curves stand beside the winner's.
    """
    assert winner.result is not None
    named: dict[str, Ensemble] = {WINNER: evidence.ensemble}
    named |= {f"{one.name} ({one.origin})": one.ensemble for one in others}
    tables = {
        name: ensemble_robustness(one, plan.data, splits=["ood_val"]) for name, one in named.items()
    }
    served = _served(plan, evidence.ensemble)
    figures = {"robustness.png": robustness_curves(tables, plan.ood_metric)}
    figures |= _errors(plan, served)
    if evidence.groups:
        figures["groups.png"] = group_picture(evidence.groups, plan.data.task)
    if plan.data.task.kind == "binary":
        figures["reliability.png"] = _reliability(plan, served)
    modalities = _modalities(plan, winner, evidence)
    if modalities is not None:
        figures["modalities.png"] = modality_picture(modalities)
    of = f"{plan.model_name}: trial {winner.record.number} of {plan.sweep}, data {plan.data.name}"
    for figure in figures.values():
        stamp(figure, of)
    folder = plan.paths.ablation(plan.sweep)
    ablation = [folder / name for name in ABLATION_FILES if (folder / name).is_file()]
    task, ood_val = plan.data.task, plan.data.ood_val
    classes = class_tables(served["ood_val"], ood_val, task) if task.is_named else None
    probes = probe(winner.result, plan.data, partitions=plan.paths.partitions)
    return Artifacts(tables, probes, figures, ablation, classes, of, modalities)


def _modalities(
    plan: PromotionPlan, winner: Candidate, evidence: Evidence
) -> ModalityFindings | None:
    """The verdicts: asked of the ERM baseline that the gates compared the winner with."""
    assert winner.result is not None
    names = judged_modalities(plan.data, winner.result.config.model)
    if not names:
        return None
    contenders = [winner.result]
    if evidence.baseline is not None and not winner.baseline:
        contenders.insert(0, evidence.baseline.result)
    erm = next((result for result in contenders if is_erm(result.config)), None)
    missing = "" if erm else "no ERM baseline was trained"
    asked = Asked(erm, winner.result, "the ERM baseline", missing)
    return modality_findings(plan.data, names, plan.ranked, plan.objective, asked)


def log_artifacts(client: MlflowClient, run: str, shown: Artifacts) -> list[str]:
    """Logs everything into a run; returns the names of the artifacts."""
    for name, figure in shown.figures.items():
        client.log_figure(run, figure, name)
    client.log_text(run, _csv(shown.robustness), "robustness.csv")
    log_probes(client, run, shown.probes, shown.of)
    judged = []
    if shown.modalities is not None:
        client.log_dict(run, as_values(shown.modalities), VERDICTS)
        judged = [VERDICTS]
    for file in shown.ablation:
        client.log_artifact(run, str(file), "ablation")
    ablation = [f"ablation/{file.name}" for file in shown.ablation]
    return [*shown.figures, "robustness.csv", "probes.json", "probes.png", *judged, *ablation]


def _csv(tables: Mapping[str, pl.DataFrame]) -> str:
    """All tables below each other; means and deviations, as lists do not fit into a CSV."""
    frames = [
        table.drop("values").select(pl.lit(name).alias("model"), pl.all())
        for name, table in tables.items()
    ]
    return pl.concat(frames).write_csv()


def _served(plan: PromotionPlan, ensemble: Ensemble) -> dict[str, Scores]:
    """The scores `(n,)` or `(n, C)` of what is served, on both validation splits."""
    splits = {name: plan.data.splits[name] for name in ("id_val", "ood_val")}
    task, temperature = plan.data.task, ensemble.card.temperature
    found = scores_of(ensemble, plan.data, splits)
    return {name: averaged(scores, task, temperature)[0] for name, scores in found.items()}


def _errors(plan: PromotionPlan, served: Mapping[str, Scores]) -> dict[str, Figure]:
    """Where it errs: along the scale, or which class it takes for which."""
    task, labels = plan.data.task, plan.data.ood_val.labels
    if task.kind == "regression":
        return {"errors.png": error_picture(served, plan.data.splits)}
    if task.kind == "multilabel":
        return {}
    scores, names = served["ood_val"], task.names or ("0", "1")
    decided = scores.argmax(axis=1) if task.is_named else (scores >= 0).astype(np.int64)
    counts = confusions(decided[None], labels.astype(np.int64), len(names))[0]
    return {"confusion.png": confusion_picture(counts, names)}


def _reliability(plan: PromotionPlan, served: Mapping[str, Scores]) -> Figure:
    curves = {
        name: reliability_curve(sigmoid(scores), plan.data.splits[name].labels)
        for name, scores in served.items()
    }
    return reliability_picture(curves)
