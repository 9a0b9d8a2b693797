"""What may differ between the replicas of a stack, as tensors with a leading replica axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from cmir.config import TrialConfig
from cmir.errors import InputError

# Constraint -> the field of `LossConfig` that weighs it.
WEIGHTS: Mapping[str, str] = {
    "invariance": "invariance",
    "mutual_information": "mutual_information",
    "reconstruction": "reconstruction",
    "label_leak": "label_leak",
    "penalty": "penalty_weight",
}
CONSTRAINTS = tuple(WEIGHTS)
# Those that need no environments by a partition: weighed terms of Eq. 9, and what we add to them.
TERMS = tuple(name for name in CONSTRAINTS if name != "penalty")
# What is said of every training, also where its weight is zero: the terms that the paper has.
REPORTED = tuple(name for name in CONSTRAINTS if name != "label_leak")


@dataclass(frozen=True)
class ReplicaSettings:
    """The settings of each replica, in the order of the stack.

    Attributes:
        invariance: lambda_1 `(replica,)`; the next two are lambda_2 and lambda_3.
        label_leak: weight of the label's share of Z_spu, `(replica,)`.
        off_diagonal: alpha of Eq. 6, `(replica,)`.
        penalty: weight of the environment penalty, `(replica,)`; zero without a partition.
        group_dro_step: eta of GroupDRO, `(replica,)`.
        rates: `(replica, modality)`: alpha_1 * rate for views with a strength, else the rate.
    """

    invariance: Tensor
    mutual_information: Tensor
    reconstruction: Tensor
    label_leak: Tensor
    off_diagonal: Tensor
    penalty: Tensor
    group_dro_step: Tensor
    rates: Tensor

    def at(self, replicas: Tensor) -> ReplicaSettings:
        """The settings of the chosen replicas."""
        return replace(self, **{f.name: getattr(self, f.name)[replicas] for f in fields(self)})

    def active(self) -> tuple[str, ...]:
        """The constraints whose weight is above zero in some replica."""
        return tuple(name for name in CONSTRAINTS if bool((getattr(self, name) > 0).any()))


def replica_settings(
    configs: Sequence[TrialConfig], modalities: Sequence[str], device: torch.device
) -> ReplicaSettings:
    """Settings of a stack whose replica r follows `configs[r]`."""
    fields_of_loss = {**WEIGHTS, "off_diagonal": "off_diagonal", "group_dro_step": "group_dro_step"}
    values = {
        name: torch.tensor([getattr(config.loss, key) for config in configs], device=device)
        for name, key in fields_of_loss.items()
    }
    grouped = [config.environments.partition != "none" for config in configs]
    values["penalty"] = values["penalty"] * torch.tensor(grouped, device=device)
    rates = [[_rate(config, modality) for modality in modalities] for config in configs]
    return ReplicaSettings(**values, rates=torch.tensor(rates, device=device))


def _rate(config: TrialConfig, modality: str) -> float:
    environments = config.environments
    scale = environments.noise_strength if environments.has_strength else 1.0
    return scale * environments.rate_of(modality)


def check_structure(configs: Sequence[TrialConfig]) -> None:
    """Raises InputError where configurations cannot share a stack."""
    first = configs[0].structure
    for config in configs[1:]:
        other = config.structure
        differing = [k for k in sorted({*first, *other}) if first.get(k) != other.get(k)]
        if differing:
            raise InputError(
                f"configurations of one stack must agree in {', '.join(differing)}, but got "
                f"{[first.get(k) for k in differing]} and {[other.get(k) for k in differing]}: "
                "train them apart."
            )
