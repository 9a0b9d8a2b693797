"""A pack: configurations of one structure that train side by side, epoch by epoch.

On a GPU a pack is one stack. On a CPU stacks of a few replicas take turns: a step of a small stack
stays in the processor's cache, a large one waits for memory (docs/decisions.md, "Small stacks on a
CPU, one on a GPU").
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.method.environments.partitions import Partitions
from cmir.method.networks.features import load_features
from cmir.method.training.replica_stack import Stack, check_structure
from cmir.method.training.reports import Diverged, EpochReport

CPU_REPLICAS = 4


class Pack:
    """Several configurations, each trained as it would be alone."""

    def __init__(
        self,
        data: DevelopmentData,
        configs: Sequence[TrialConfig],
        device: torch.device,
        partitions: Partitions | None = None,
    ) -> None:
        """Starts every replica from its own seed.

        Raises:
            InputError: the configurations differ in more than what may vary between replicas, or
                their partition cannot be made.
        """
        check_structure(configs)
        partitions = partitions or Partitions(data)
        features = load_features(data, configs[0].model, device)
        most = CPU_REPLICAS if device.type == "cpu" else sum(len(c.seeds) for c in configs)
        self._groups = list(_groups(configs, most))
        self._stacks = [
            Stack(data, [configs[index] for index in group], device, partitions, features)
            for group in self._groups
        ]

    @property
    def running(self) -> tuple[int, ...]:
        """Indices of the configurations that are still in training."""
        pairs = zip(self._groups, self._stacks, strict=True)
        return tuple(group[place] for group, stack in pairs for place in stack.running)

    def run_epoch(self) -> dict[int, EpochReport | Diverged]:
        """Trains and evaluates one epoch of every configuration that is running.

        Returns:
            for each its report, with the result if it has ended, or its divergence, after which
            it has left the pack.
        """
        return {
            group[place]: report
            for group, stack in zip(self._groups, self._stacks, strict=True)
            if stack.running
            for place, report in stack.run_epoch().items()
        }

    def drop(self, configs: Collection[int]) -> None:
        """Takes configurations out of the pack; they keep nothing."""
        for group, stack in zip(self._groups, self._stacks, strict=True):
            stack.drop([place for place, index in enumerate(group) if index in configs])


def _groups(configs: Sequence[TrialConfig], most: int) -> Iterator[list[int]]:
    """Neighbouring configurations whose replicas are at most so many; one has at least one."""
    group: list[int] = []
    for index, config in enumerate(configs):
        if group and sum(len(configs[i].seeds) for i in group) + len(config.seeds) > most:
            yield group
            group = []
        group.append(index)
    yield group
