"""An arm of an ablation: one configuration that differs from the full one in one thing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmir.config import TrialConfig, trial_config
from cmir.extensions import PARTITIONS, PENALTIES, VIEWS

FULL = "full"
FAMILIES = ("constraints", "plain", "random", "count", "schemes", "penalties")


@dataclass(frozen=True)
class Arm:
    """One row of an ablation.

    Attributes:
        name: what the row is called.
        family: `full`, or one of `FAMILIES`.
        config: what is trained, in the form of `effective`: arms that train alike are equal.
        note: what a reader must know about the row.
    """

    name: str
    family: str
    config: TrialConfig
    note: str = ""

    @property
    def fingerprint(self) -> str:
        """Of the configuration, seeds included."""
        return self.config.fingerprint


def distinct(arms: Iterable[Arm]) -> dict[str, Arm]:
    """The trainings that arms need: fingerprint to the first arm that has it."""
    found: dict[str, Arm] = {}
    for arm in arms:
        found.setdefault(arm.fingerprint, arm)
    return found


def changed(
    config: TrialConfig, values: Mapping[str, Any], without: Sequence[str] = ()
) -> TrialConfig:
    """A configuration with some dotted keys set anew.

    Args:
        config: the original, whose objective and seeds stay.
        values: dotted key to value.
        without: keys, or starts of keys such as `environments.rate`, that go back to their
            defaults first.

    Raises:
        InputError: the result is no valid configuration.
    """
    kept = {
        key: value
        for key, value in config.flat().items()
        if key not in ("objective", "seeds") and not _starts_with(key, without)
    }
    return trial_config(
        {**kept, **values}, "ablation", objective=config.objective, seeds=config.seeds
    )


def draws_views(config: TrialConfig) -> bool:
    """Whether training draws views: they exist, and a term with weight looks at them."""
    is_used = config.loss.invariance > 0 or config.loss.prediction_views == "all"
    return config.environments.views > 0 and is_used


def is_penalised(config: TrialConfig) -> bool:
    """Whether a penalty over the environments of a partition takes part in training."""
    return config.environments.partition != "none" and config.loss.penalty_weight > 0


def effective(config: TrialConfig, modalities: Sequence[str]) -> TrialConfig:
    """The same training, said without what has no effect: two that train alike become equal.

    A term of weight zero leaves the gradient and with it the training, to the last bit; so do
    views that no term looks at, and a partition without a penalty. Defaults that depend on the
    scheme (K, alpha_1, rates, number of groups) are written out.

    Args:
        config: any configuration.
        modalities: names of those the model sees.
    """
    unused = [*_unused_views(config), *_unused_partition(config), *_unused_forms(config)]
    values: dict[str, Any] = {"loss.invariance": 0.0}
    if draws_views(config):
        values = view_settings(config, modalities)
    if is_penalised(config):
        values |= partition_settings(config) | penalty_settings(config)
    return changed(config, values, unused)


def view_settings(config: TrialConfig, modalities: Sequence[str]) -> dict[str, Any]:
    """The settings of the view scheme by dotted key, defaults written out."""
    environments = config.environments
    if environments.view == "none":
        return {"environments.view": "none"}
    settings: dict[str, Any] = {
        "environments.view": environments.view,
        "environments.count": environments.views,
    }
    if environments.has_strength:
        settings["environments.strength"] = environments.noise_strength
    rates = {f"environments.rate.{name}": environments.rate_of(name) for name in modalities}
    own = VIEWS[environments.view].filled(environments.view_settings)
    start = f"environments.view_settings.{environments.view}"
    return settings | rates | {f"{start}.{key}": value for key, value in own.items()}


def partition_settings(config: TrialConfig) -> dict[str, Any]:
    """The settings of the partition by dotted key, the default number of groups written out."""
    environments = config.environments
    name, partition = environments.partition, PARTITIONS.of(environments.partition)
    settings: dict[str, Any] = {"environments.partition": name}
    if name != "none" and environments.group_count is not None:
        settings["environments.groups"] = environments.group_count
    own = {} if partition is None else partition.filled(environments.partition_settings)
    start = f"environments.partition_settings.{name}"
    return settings | {f"{start}.{key}": value for key, value in own.items()}


def penalty_settings(config: TrialConfig) -> dict[str, Any]:
    """What the penalty has of its own by dotted key, defaults written out."""
    name = config.loss.penalty
    own = PENALTIES[name].filled(config.loss.penalty_settings)
    return {f"loss.penalty_settings.{name}.{key}": value for key, value in own.items()}


VIEW_KEYS = (
    "environments.view",
    "environments.count",
    "environments.strength",
    "environments.rate",
    "environments.view_settings",
    "loss.prediction_views",
    "loss.invariance_form",
)
PARTITION_KEYS = (
    "environments.partition",
    "environments.groups",
    "environments.partition_settings",
)
PENALTY_KEYS = (
    "loss.penalty",
    "loss.penalty_weight",
    "loss.penalty_anneal_epochs",
    "loss.penalty_settings",
    "loss.group_dro_step",
)


def _unused_views(config: TrialConfig) -> Sequence[str]:
    if not draws_views(config):
        return VIEW_KEYS
    return () if config.loss.invariance > 0 else ("loss.invariance_form",)


def _unused_partition(config: TrialConfig) -> Sequence[str]:
    if not is_penalised(config):
        # Annealing epochs stay: they keep seeds from stopping early, penalty or not.
        others = (key for key in PENALTY_KEYS if key != "loss.penalty_anneal_epochs")
        return (*PARTITION_KEYS, *others)
    return () if config.loss.penalty == "group_dro" else ("loss.group_dro_step",)


def _unused_forms(config: TrialConfig) -> Sequence[str]:
    if config.loss.mutual_information > 0:
        return ()
    return ("loss.off_diagonal", "loss.normalise", "loss.decorrelation")


def _starts_with(key: str, starts: Sequence[str]) -> bool:
    return any(key == start or key.startswith(f"{start}.") for start in starts)
