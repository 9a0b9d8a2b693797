"""What a sweep found about each modality: its rates, its worth to two models, the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from cmir.config import ModelConfig
from cmir.data import DevelopmentData
from cmir.errors import InputError
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
# Between fewer there is nothing to judge.
FEWEST_MODALITIES = 2


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


def judged_modalities(data: DevelopmentData, model: ModelConfig) -> tuple[str, ...]:
    """The modalities that a network tells apart; none where there are fewer than two.

    A stream that is fused into another is a part of that one.
    """
    names = tuple(name for name in used_modalities(data, model) if name not in model.fuse)
    return names if len(names) >= FEWEST_MODALITIES else ()


def modality_findings(
    data: DevelopmentData,
    names: Sequence[str],
    records: Sequence[TrialRecord],
    objective: str,
    asked: Asked,
) -> ModalityFindings:
    """Measures and judges; trains nothing, and sees no other splits than the sweep did.

    Args:
        data: of the sweep.
        names: of the modalities, see `judged_modalities`.
        records: of its trials.
        objective: of the sweep, `split/metric`.
        asked: models trained on `data`.
    """
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
) -> ModalityFindings | None:
    """The verdicts at the end of a sweep; None where no trial has finished, or sees one modality.

    Asked is the ERM twin of the champion, which is trained here.

    Where that would take longer than a minute, or needs a language model, only the rates speak;
    promotion asks the ERM baseline that it trains anyway.

    Args:
        data: of the sweep.
        records: of its trials.
        objective: of the sweep, `split/metric`.
        kept: number and weights of the best trials, best first.
    """
    best = best_trial(records, objective)
    names = () if best is None else judged_modalities(data, best.config.model)
    if best is None or not names:
        return None
    with _one_thread():
        asked = _asked(data, best, dict(kept).get(best.number))
        return modality_findings(data, names, records, objective, asked)


def _asked(data: DevelopmentData, best: TrialRecord, weights: Path | None) -> Asked:
    """The champion and its twin."""
    if best.ending.seconds > MOST_SECONDS:
        why = f"to train the champion's ERM twin would take about {best.ending.seconds:.0f} s"
        return Asked(missing=why)
    twin, missing = trained_twin(data, best.config)
    champion = None if weights is None or twin is None else _loaded(best, weights)
    return Asked(twin, champion, f"the ERM twin of trial {best.number}", missing)


def _loaded(best: TrialRecord, weights: Path) -> TrialResult | None:
    """None: its weights are gone or broken, which is no reason to lose what the sweep has found."""
    try:
        return load_result(best, weights)
    except InputError:
        return None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other while other programs run cost up to 25 times one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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


def _evidence(name: str, found: Worths, rates: Mapping[str, RateEvidence]) -> Evidence:
    known, new = (found.get(split, {}).get(name) for split in ("id_val", "ood_val"))
    return Evidence(known, new, rates.get(name))
