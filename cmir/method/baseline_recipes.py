"""Baselines by name: from a winner's configuration to those of which the best is its opponent."""

from __future__ import annotations

from cmir.config import TrialConfig, trial_config
from cmir.extensions import baseline
from cmir.method.losses.replica_settings import TERMS

CONSTRAINTS = tuple(f"loss.{name}" for name in TERMS)
SCHEMES = (
    "environments.",
    "loss.penalty",
    "loss.group_dro_step",
    "loss.prediction_views",
    "loss.label_erasure",
)
FACTORS = (1 / 3, 1.0, 3.0)


@baseline("plain")
def erm_recipe(config: TrialConfig) -> list[TrialConfig]:
    """The ERM baseline at a third, the whole and three times the learning rate."""
    base = erm(config)
    return [with_rate(base, factor * base.training.learning_rate) for factor in FACTORS]


def erm(config: TrialConfig) -> TrialConfig:
    """The same sizes and optimiser without views, partition and constraints."""
    kept = {
        key: value
        for key, value in config.flat().items()
        if key not in ("objective", "seeds") and not key.startswith(SCHEMES)
    }
    nothing = dict.fromkeys(CONSTRAINTS, 0.0)
    return trial_config(
        {**kept, **nothing}, "the ERM baseline", objective=config.objective, seeds=config.seeds
    )


def is_erm(config: TrialConfig) -> bool:
    """Whether nothing but the prediction loss trains it.

    Example:
        >>> is_erm(TrialConfig()), is_erm(erm(TrialConfig()))
        (False, True)
    """
    environments, loss = config.environments, config.loss
    is_penalised = environments.partition != "none" and loss.penalty_weight > 0
    uses_views = environments.views > 0 and (loss.invariance > 0 or loss.prediction_views == "all")
    splits = max(loss.mutual_information, loss.reconstruction, loss.label_leak) > 0
    return not (is_penalised or uses_views or splits)


def with_rate(config: TrialConfig, rate: float) -> TrialConfig:
    """The same configuration with another learning rate."""
    training = config.training.model_copy(update={"learning_rate": rate})
    return config.model_copy(update={"training": training})
