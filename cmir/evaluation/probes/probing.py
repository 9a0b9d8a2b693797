"""What the two parts of a trained model hold, for any data (Mai and Han 2026, App. K).

The paper predicts the label and the noise strength from Z_inv and from Z_spu. On MOSEI it finds
noise at a mean squared error of 2.04 from Z_inv, which is chance, and .87 from Z_spu, and from
Z_spu no sentiment beyond the majority class. Its probes are not described; here they are linear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cmir.config import DEFAULT_COUNT, DEFAULT_STRENGTH, EnvironmentsConfig
from cmir.data import DevelopmentData, SplitData
from cmir.data.synthetic.interventions import has_ground_truth
from cmir.evaluation.probes.ground_truth import VALIDATION, GroundTruth, ground_truth
from cmir.evaluation.probes.linear_probes import BySeed, accuracies, linear_readout, r2
from cmir.evaluation.probes.representations import Parts, TrainedModel, model_of
from cmir.method.networks.replicas import draw_normal
from cmir.method.training.reports import TrialResult

# Enough for a probe of some hundred features, and the whole of a small data set.
MOST_FITTED = 4000
ROLES = ("invariant", "spurious")


@dataclass(frozen=True, eq=False)
class LabelProbe:
    """The label from each part.

    Attributes:
        measure: `r2`, or `accuracy` where there are classes.
        score: validation split -> part (`invariant`, `spurious`) -> `(seed,)`.
        chance: validation split -> what a constant reaches: 0, or the share of the larger class.
    """

    measure: str
    score: Mapping[str, Mapping[str, BySeed]]
    chance: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class StrengthProbe:
    """The strength alpha_e of Gaussian noise on the unimodal vectors (Eq. 3) from each part.

    Attributes:
        levels: alpha_e for e = 0..K, each given to the same number of samples.
        mse: part -> mean squared error `(seed,)`, in units of alpha squared.
        r2: part -> R^2 `(seed,)`; NaN where there is one level only.
    """

    levels: tuple[float, ...]
    mse: Mapping[str, BySeed]
    r2: Mapping[str, BySeed]


@dataclass(frozen=True, eq=False)
class Probes:
    """All probes of a model; `truth` only where the data has ground truth."""

    label: LabelProbe
    strength: StrengthProbe
    truth: GroundTruth | None


def probe(result: TrialResult, data: DevelopmentData, seed: int = 0) -> Probes:
    """Probes a finished training: fitted on training rows, scored on validation rows.

    Linear probes are fitted on at most 4000 training rows, drawn without replacement.

    Args:
        result: of a training on `data`.
        data: only development splits.
        seed: of the noise that is to be told, and of the choice of rows.
    """
    model = model_of(result, data)
    random = np.random.default_rng(seed)
    fit_on = random.permutation(len(data.train))[:MOST_FITTED]
    fit_on.sort()
    truth = ground_truth(model, data, fit_on) if has_ground_truth(data) else None
    return Probes(
        label_probe(model, data, fit_on),
        strength_probe(model, data, fit_on, result.config.environments, random),
        truth,
    )


def label_probe(model: TrainedModel, data: DevelopmentData, fit_on: np.ndarray) -> LabelProbe:
    """The label from Z_inv and from Z_spu, on each validation split.

    Args:
        model: whose parts are probed.
        data: that it was trained on.
        fit_on: positions in the training split that probes are fitted on.
    """
    fitted, labels = model.parts(data, data.train.rows[fit_on]), data.train.labels[fit_on]
    splits = [data.splits[name] for name in VALIDATION]
    held = [model.parts(data, split.rows) for split in splits]
    has_classes = data.task.kind in ("binary", "classes")
    score: dict[str, dict[str, BySeed]] = {split.name: {} for split in splits}
    for part in ROLES:
        by_seed = [
            _label_scores(train, labels, list(zip(tests, splits, strict=True)), has_classes)
            for train, *tests in zip(
                getattr(fitted, part), *(getattr(parts, part) for parts in held), strict=True
            )
        ]
        for split, values in zip(splits, np.array(by_seed).T, strict=True):
            score[split.name][part] = values
    chance = {split.name: _majority(split) if has_classes else 0.0 for split in splits}
    return LabelProbe("accuracy" if has_classes else "r2", score, chance)


def strength_probe(
    model: TrainedModel,
    data: DevelopmentData,
    fit_on: np.ndarray,
    environments: EnvironmentsConfig,
    random: np.random.Generator,
) -> StrengthProbe:
    """The strength of the virtual environment of Eq. 3 from Z_inv and from Z_spu.

    Every sample gets one environment e of 0..K by chance, the same for all modalities, as often
    each. A model that was trained on noise is asked about its own environments, any other about
    the default ones. Levels differ between models then: compare R^2, not errors.

    Args:
        model: whose parts are probed.
        data: that it was trained on.
        fit_on: positions in the training split that probes are fitted on.
        environments: the model's, for alpha_1, K and the rates of the modalities.
        random: of the noise.
    """
    levels = _levels(environments)
    held_rows = np.concatenate([data.splits[name].rows for name in VALIDATION])
    rates = torch.tensor([_rate(environments, name) for name in model.network.sizes])
    fitted, alphas = _noisy(model, data, data.train.rows[fit_on], levels, rates, random)
    held, held_alphas = _noisy(model, data, held_rows, levels, rates, random)
    r2s, errors = {}, {}
    for part in ROLES:
        readouts = [
            linear_readout(train, {"alpha": alphas}, test)[0]["alpha"][:, 0]
            for train, test in zip(getattr(fitted, part), getattr(held, part), strict=True)
        ]
        r2s[part] = np.array([r2(held_alphas, values) for values in readouts])
        errors[part] = np.array([np.square(held_alphas - values).mean() for values in readouts])
    return StrengthProbe(tuple(levels.tolist()), errors, r2s)


def _noisy(
    model: TrainedModel,
    data: DevelopmentData,
    rows: np.ndarray,
    levels: np.ndarray,
    rates: Tensor,
    random: np.random.Generator,
) -> tuple[Parts, np.ndarray]:
    """Both parts of the samples after noise, and the strength `(n,)` that each one got."""
    alphas = levels[random.permutation(np.arange(len(rows)) % len(levels))]
    vectors = model.vectors(data, rows)
    source = torch.Generator(vectors.device).manual_seed(int(random.integers(2**31)))
    # One draw for all seeds: they are asked about the same disturbance.
    noise = draw_normal([source], vectors.shape[1:])
    strength = rates.to(noise)[:, None] * torch.from_numpy(alphas).to(noise)
    return model.encode(vectors + strength[..., None] * noise), alphas


def _levels(environments: EnvironmentsConfig) -> np.ndarray:
    count, strength = DEFAULT_COUNT, DEFAULT_STRENGTH
    if environments.view == "noise":
        count, strength = environments.views, environments.noise_strength
    return np.round(strength * np.arange(count + 1), 12)


def _rate(environments: EnvironmentsConfig, modality: str) -> float:
    return environments.rate_of(modality) if environments.view == "noise" else 1.0


def _label_scores(
    train: np.ndarray,
    labels: np.ndarray,
    held: Sequence[tuple[np.ndarray, SplitData]],
    has_classes: bool,
) -> list[float]:
    """The score of one probe on each set of held samples."""
    if has_classes:
        return accuracies(train, labels, *((values, split.labels) for values, split in held))
    readouts = linear_readout(train, {"label": labels}, *(values for values, _ in held))
    return [
        r2(split.labels, told["label"]) for told, (_, split) in zip(readouts, held, strict=True)
    ]


def _majority(split: SplitData) -> float:
    return float(np.unique(split.labels, return_counts=True)[1].max() / len(split.labels))
