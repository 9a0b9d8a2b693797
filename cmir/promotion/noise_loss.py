"""How much of a model's lead over a constant prediction is lost under Gaussian noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from cmir.data import DevelopmentData
from cmir.evaluation.robustness.robustness_table import CLEAN
from cmir.promotion.report.ensemble_robustness import ensemble_robustness
from cmir.promotion.selection import better_sign, metric_of
from cmir.serving.predictor import Ensemble


@dataclass(frozen=True)
class NoiseLoss:
    """What noise does to a metric.

    Attributes:
        clean: the metric without noise, mean over the seeds.
        noisy: its mean over the rates .1 to .7 of Eq. 14 and over the seeds.
        share: of the lead over a constant prediction that is lost; 1: no better than the constant.
        low: lower end of its 95 % interval over the seeds.
        high: upper end.
        detectable: the smallest share that such a measurement tells from none in four of five
            cases; NaN for one seed.
    """

    clean: float
    noisy: float
    share: float
    low: float
    high: float
    detectable: float = math.nan


def noise_loss(ensemble: Ensemble, data: DevelopmentData, key: str, constant: float) -> NoiseLoss:
    """The share of the lead over a constant that is lost under noise, in `split/metric`.

    X' = (1 - NR) X + NR eps (Mai and Han 2026, Eq. 14) on the standardised features, where noise
    means the same for every model: unimodal vectors have the scale that each network learned.

    Args:
        ensemble: its seeds are measured one by one.
        data: with the split.
        key: `split/metric`.
        constant: what the best constant reaches.
    """
    split, metric = key.partition("/")[0], metric_of(key)
    table = ensemble_robustness(ensemble, data, splits=[split], corruptions=["gaussian"])
    rows = table.filter(metric=metric)
    clean = np.array(rows.filter(corruption=CLEAN)["values"].to_list()[0])
    noisy = np.array(rows.filter(where="features")["values"].to_list()).mean(axis=0)
    lead = better_sign(key) * (clean.mean() - constant)
    if lead <= 0:
        return NoiseLoss(float(clean.mean()), float(noisy.mean()), math.inf, math.inf, math.inf)
    shares = better_sign(key) * (clean - noisy) / lead
    reach, detectable = _reach(shares)
    share, means = float(shares.mean()), (float(clean.mean()), float(noisy.mean()))
    return NoiseLoss(*means, share, share - reach, share + reach, detectable)


def _reach(values: np.ndarray) -> tuple[float, float]:
    """Half of Student's 95 % interval of a mean, and the detectable mean; none for one value."""
    if len(values) < 2:
        return math.inf, math.nan
    error = values.std(ddof=1) / math.sqrt(len(values))
    outer, inner = stats.t.ppf([0.975, 0.8], len(values) - 1)
    return float(outer * error), float((outer + inner) * error)
