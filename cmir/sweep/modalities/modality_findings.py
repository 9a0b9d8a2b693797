"""What a sweep found about each modality: its rates, its worth to two models, the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cmir.data import DevelopmentData
from cmir.evaluation.bootstrap_groups import resampled_groups
from cmir.evaluation.modalities.rate_evidence import RateEvidence, rate_evidence
from cmir.evaluation.modalities.verdicts import Evidence, Verdict, verdicts
from cmir.evaluation.modalities.worth import Worths, worths
from cmir.evaluation.probes.representations import model_of
from cmir.method.networks.features import used_modalities
from cmir.method.training.reports import TrialResult
from cmir.metrics.metric_inputs import FloatArray
from cmir.runner.studies.records import TrialRecord
from cmir.runner.weights import load_result
from cmir.sweep.leaderboard import best_trial, is_lower_better, score_of
from cmir.sweep.modalities.erm_twin import MOST_SECONDS, trained_twin

# Views that put something else in place of a whole modality, at a rate of its own.
REPLACING = ("erase", "swap")


@dataclass(frozen=True)
class ModalityFindings:
    """The verdicts of a sweep or a promotion, and what stands behind them.

    Attributes:
        verdicts: by modality, in the data's order.
        champion: what each modality is worth to the champion; empty where it was not asked.
        groups: how many groups `ood_val` has, and what they are (`speaker`).
        asked: what the worths were asked of; empty where of nothing.
        missing: why the worths are missing, empty where they are there.
    """

    verdicts: Mapping[str, Verdict]
    champion: Worths = field(default_factory=dict)
    groups: tuple[int, str] = (0, "sample")
    asked: str = ""
    missing: str = ""


@dataclass(frozen=True, eq=False)
class Asked:
    """The models that are asked what each modality is worth to them.

    Attributes:
        erm: trained by prediction error alone; None where there is none.
        champion: the best of the sweep, or a promotion's winner.
        name: what `erm` is called.
        missing: why it is not there.
    """

    erm: TrialResult | None = None
    champion: TrialResult | None = None
    name: str = ""
    missing: str = ""


def modality_findings(
    data: DevelopmentData, records: Sequence[TrialRecord], objective: str, asked: Asked
) -> ModalityFindings:
    """Measures and judges; trains nothing, and sees no other splits than the sweep did.

    Args:
        data: of the sweep.
        records: of its trials.
        objective: of the sweep, `split/metric`.
        asked: models trained on `data`.
    """
    names = _names(data, asked)
    rates = rates_of(records, objective, names)
    found = {} if asked.erm is None else worths(model_of(asked.erm, data), data)
    evidence = {name: _evidence(name, found, rates) for name in names}
    heard = {} if asked.champion is None else worths(model_of(asked.champion, data), data)
    groups = resampled_groups(data.ood_val)
    told = (groups.number, groups.what)
    return ModalityFindings(verdicts(evidence), heard, told, asked.name, asked.missing)


def of_sweep(
    data: DevelopmentData,
    records: Sequence[TrialRecord],
    objective: str,
    kept: Sequence[tuple[int, Path]],
) -> ModalityFindings:
    """The verdicts at the end of a sweep: of the ERM twin of its champion, trained here.

    Where that would take longer than a minute, or needs a language model, only the rates speak;
    promotion asks the ERM baseline that it trains anyway.

    Args:
        data: of the sweep.
        records: of its trials.
        objective: of the sweep, `split/metric`.
        kept: number and weights of the best trials, best first.
    """
    best = best_trial(records, objective)
    if best is None:
        return ModalityFindings({}, missing="no trial has finished")
    if best.ending.seconds > MOST_SECONDS:
        why = f"to train the champion's ERM twin would take about {best.ending.seconds:.0f} s"
        return modality_findings(data, records, objective, Asked(missing=why))
    twin, missing = trained_twin(data, best.config)
    path = dict(kept).get(best.number)
    champion = None if path is None or twin is None else load_result(best, path)
    name = f"the ERM twin of trial {best.number}"
    return modality_findings(data, records, objective, Asked(twin, champion, name, missing))


def rates_of(
    records: Sequence[TrialRecord], objective: str, modalities: Sequence[str]
) -> dict[str, RateEvidence]:
    """What the trials that erase or swap say of each modality's rate.

    Pruned and diverged trials count as worse than all that finished; failed ones do not count.
    """
    told = [r for r in records if r.config.environments.view in REPLACING and r.outcome != "failed"]
    metric = objective.partition("/")[2]
    sign = 1.0 if is_lower_better(objective) else -1.0

    def losses(split: str, otherwise: float) -> FloatArray:
        values = (_finished_score(record, f"{split}/{metric}") for record in told)
        return np.array([otherwise if value is None else sign * value for value in values])

    rates = {
        name: np.array([record.config.environments.rate_of(name) for record in told])
        for name in modalities
    }
    order = np.array([float(record.number) for record in told])
    return rate_evidence(rates, losses("ood_val", np.inf), losses("id_val", np.nan), [order])


def _finished_score(record: TrialRecord, key: str) -> float | None:
    return score_of(record, key) if record.outcome == "finished" else None


def _names(data: DevelopmentData, asked: Asked) -> tuple[str, ...]:
    """The modalities that a network tells apart: streams fused into another are none."""
    model = next((one for one in (asked.erm, asked.champion) if one is not None), None)
    if model is None:
        return tuple(data.modalities)
    settings = model.config.model
    return tuple(n for n in used_modalities(data, settings) if n not in settings.fuse)


def _evidence(name: str, found: Worths, rates: Mapping[str, RateEvidence]) -> Evidence:
    known, new = (found.get(split, {}).get(name) for split in ("id_val", "ood_val"))
    return Evidence(known, new, rates.get(name))
