"""Training with fine-tuned language models: each seed a stack of one replica, in turn.

A language model has no replica axis, so S seeds are S stacks. All of them train one epoch before
any trains the next, so that a report says the same as that of one stack, and only the one that
trains is on the device.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.method.environments.diagnosis import Diagnosis
from cmir.method.environments.partitions import Partitions, partition_of
from cmir.method.language.data_tokens import split_tokens, text_column
from cmir.method.language.layer_outputs import layer_outputs
from cmir.method.language.pretrained.backbones import Backbone, find_backbone
from cmir.method.language.pretrained.tuned_part import cut_of, tuned_part
from cmir.method.language.text_sources import CutTexts, TextSource, WholeTexts, distinct
from cmir.method.networks.features import (
    Features,
    input_kinds,
    load_features,
    reads_steps,
    used_modalities,
)
from cmir.method.networks.model import Weights
from cmir.method.training.replica_stack import Stack
from cmir.method.training.reports import Diverged, EpochReport, State, TrialResult
from cmir.method.training.split_scores import ByReplica, summary
from cmir.method.training.tuned_backbone import TunedBackbone

CPU = torch.device("cpu")


class FineTunedStack(Stack):
    """A stack of one replica, some of whose features come from language models in training."""

    def __init__(
        self,
        data: DevelopmentData,
        config: TrialConfig,
        device: torch.device,
        partitions: Partitions,
        features: Features,
        backbones: Mapping[str, TunedBackbone],
    ) -> None:
        """Of a configuration with one seed.

        `features` are those of the data set, which stacks share; `backbones`, by modality, are
        this stack's own, on the CPU.
        """
        super().__init__(data, [config], device, partitions, {**features, **backbones})
        self._backbones = backbones

    def run_epoch(self) -> dict[int, EpochReport | Diverged]:
        """As a stack does, with the language models on the device for as long as it takes."""
        self._move(self._device)
        reports = super().run_epoch()
        self._move(CPU)
        return reports

    def state(self) -> dict[str, Any]:
        """As of a stack, with its language models."""
        return {**super().state(), "backbones": {m: b.state() for m, b in self._backbones.items()}}

    def resume(self, state: State) -> None:
        """As a stack does, with its language models."""
        super().resume(state)
        for modality, backbone in self._backbones.items():
            backbone.resume(state["backbones"][modality])

    def _move(self, device: torch.device) -> None:
        for backbone in self._backbones.values():
            backbone.move(device)

    def _follow(self, losses: Tensor) -> None:
        backbones = self._backbones.values()
        slopes = self._optimiser.step(losses, [backbone.vectors for backbone in backbones])
        for backbone, slope in zip(backbones, slopes, strict=True):
            backbone.step(slope)

    def _forget(self, replicas: Sequence[int]) -> None:
        super()._forget(replicas)
        if replicas:
            for backbone in self._backbones.values():
                backbone.forget()

    def _keep_best(self, weights: Weights, scores: ByReplica, finite: np.ndarray) -> None:
        super()._keep_best(weights, scores, finite)
        if self._best_epochs[0] == self._epoch:
            for backbone in self._backbones.values():
                backbone.keep()

    def _result(self, index: int, members: np.ndarray) -> TrialResult:
        for backbone in self._backbones.values():
            backbone.restore()
        kept = {
            f"{modality}.{name}": value
            for modality, backbone in self._backbones.items()
            for name, value in backbone.kept.items()
        }
        return replace(super()._result(index, members), backbones=(kept,))


class _SeedsInTurn:
    """The stacks of all seeds: each trains an epoch before any trains the next."""

    def __init__(
        self, config: TrialConfig, stacks: dict[int, FineTunedStack], diagnosis: Diagnosis | None
    ) -> None:
        self._started = time.perf_counter()
        self._config, self._stacks, self._diagnosis = config, stacks, diagnosis
        self._last: dict[int, EpochReport] = {}

    @property
    def are_running(self) -> bool:
        """Whether any seed is still in training."""
        return bool(self._stacks)

    def run_epoch(self) -> EpochReport:
        """Trains one epoch of every seed that has not ended; raises Diverged."""
        began = time.perf_counter()
        for seed, stack in list(self._stacks.items()):
            report = stack.run_epoch()[0]
            if isinstance(report, Diverged):
                raise report
            self._last[seed] = report
            if report.result is not None:
                del self._stacks[seed]  # And with it the memory of its models.
        return self._joined(time.perf_counter() - began)

    def state(self) -> dict[str, Any]:
        """What `resume` goes on from, after an epoch."""
        ended = {seed: one for seed, one in self._last.items() if seed not in self._stacks}
        return {
            "seconds": time.perf_counter() - self._started,
            "running": {seed: stack.state() for seed, stack in self._stacks.items()},
            "ended": {seed: _state_of(report) for seed, report in ended.items()},
        }

    def resume(self, state: State) -> None:
        """Goes on, before the first epoch, where the seeds of the same configuration were."""
        self._started = time.perf_counter() - state["seconds"]
        for seed, stack in list(self._stacks.items()):
            if seed in state["running"]:
                stack.resume(state["running"][seed])
            else:
                self._last[seed] = self._ended(seed, state["ended"][seed])
                del self._stacks[seed]

    def _ended(self, seed: int, state: State) -> EpochReport:
        config = _of_seed(self._config, seed)
        result = TrialResult.of_state(state["result"], config, self._diagnosis)
        return EpochReport(state["epoch"], state["objective"], state["metrics"], result)

    def _joined(self, seconds: float) -> EpochReport:
        """What the seeds' last reports say together."""
        reports = [self._last[seed] for seed in self._config.seeds]
        epoch = max(report.epoch for report in reports)
        objective = float(np.mean([report.objective for report in reports]))
        if self.are_running:
            return EpochReport(epoch, objective, _spread(reports), None, seconds, self.state)
        results = [report.result for report in reports if report.result is not None]
        result = _joined(self._config, results, time.perf_counter() - self._started)
        return EpochReport(epoch, objective, _spread(reports), result, seconds)


def fine_tune(
    data: DevelopmentData,
    config: TrialConfig,
    device: torch.device,
    partitions: Partitions,
    cache: Path | None = None,
    state: State | None = None,
) -> Iterator[EpochReport]:
    """`cmir.method.training.fitting.fit` for a configuration that trains language models.

    Each of them takes the place of a modality's features: its token vectors enter the modality's
    network as they are, not standardised. It starts from its pretrained weights for every seed and
    moves by AdamW with `training.backbone_learning_rate`, its gradient clipped apart from the
    network's. On a GPU it runs in mixed precision (bfloat16). Layers below the trained ones run
    once, see `cmir.method.language.layer_outputs`; what is not trained, all seeds share.
    """
    stacks = _stacks(data, config, device, partitions, cache)
    diagnosis = partitions.diagnosis(*partition_of(config.environments))
    seeds = _SeedsInTurn(config, stacks, diagnosis)
    if state is not None:
        seeds.resume(state)
    while seeds.are_running:
        yield seeds.run_epoch()


def check_backbones(data: DevelopmentData, config: TrialConfig) -> None:
    """Raises InputError where `fine_tune` and frozen features would; loads no weights.

    A model must be found without the network: trials on many machines do not download.
    """
    used = used_modalities(data, config.model)
    for modality, name in config.model.backbone.items():
        if modality not in used:
            raise InputError(
                f"model.backbone.{modality}: '{modality}' is not among model.modalities "
                f"({', '.join(used)}): add it, or leave the language model out."
            )
        try:
            backbone = find_backbone(name)
            column = text_column(data.train.samples, None, backbone, f"'{data.name}'")
            if column == "raw_text":
                _ = backbone.tokenizer  # Raises where it is missing, or another model's.
        except InputError as error:
            raise InputError(f"model.backbone.{modality}: {error}") from None
        cut_of(backbone, config.training)


def _stacks(
    data: DevelopmentData,
    config: TrialConfig,
    device: torch.device,
    partitions: Partitions,
    cache: Path | None,
) -> dict[int, FineTunedStack]:
    found = {m: find_backbone(name) for m, name in config.model.backbone.items()}
    texts = {m: _texts(data, config, one, device, cache) for m, one in found.items()}
    parts = {m: tuned_part(one, config.training) for m, one in found.items()}
    features, kinds = load_features(data, config.model, device), input_kinds(data, config.model)
    stacks = {}
    for seed in config.seeds:
        tuned = {
            m: TunedBackbone(
                parts[m].copied(seed),
                texts[m],
                not reads_steps(kinds[m]),
                config.training,
                seed,
                device,
            )
            for m in found
        }
        own = _of_seed(config, seed)
        stacks[seed] = FineTunedStack(data, own, device, partitions, features, tuned)
    return stacks


def _texts(
    data: DevelopmentData,
    config: TrialConfig,
    backbone: Backbone,
    device: torch.device,
    cache: Path | None,
) -> TextSource:
    tokens, of_sample = distinct(split_tokens(data, backbone))
    cut = cut_of(backbone, config.training)
    if cut is None:
        return WholeTexts(tokens, of_sample)
    return CutTexts(layer_outputs(backbone, tokens, cut, device, cache), of_sample)


def _spread(reports: Sequence[EpochReport]) -> dict[str, float]:
    """Mean and deviation over the seeds of what each seed's report says."""
    names = [name for name in reports[0].metrics if not name.endswith("_std")]
    return summary({n: np.array([report.metrics[n] for report in reports]) for n in names})


def _of_seed(config: TrialConfig, seed: int) -> TrialConfig:
    return config.model_copy(update={"seeds": (seed,)})


def _state_of(report: EpochReport) -> dict[str, Any]:
    """What is kept of a seed that has ended."""
    assert report.result is not None
    told = {"epoch": report.epoch, "objective": report.objective}
    metrics = {name: float(value) for name, value in report.metrics.items()}
    return {**told, "metrics": metrics, "result": report.result.state()}


def _joined(config: TrialConfig, results: Sequence[TrialResult], seconds: float) -> TrialResult:
    by_seed = {
        name: np.array([value for result in results for value in result.by_seed[name]])
        for name in results[0].by_seed
    }
    return TrialResult(
        config=config,
        objective=float(np.mean([result.objective for result in results])),
        metrics=summary(by_seed),
        by_seed={name: tuple(values.tolist()) for name, values in by_seed.items()},
        best_epochs=tuple(epoch for result in results for epoch in result.best_epochs),
        weights=torch.cat([result.weights for result in results]),
        seconds=seconds,
        diagnosis=results[0].diagnosis,
        backbones=tuple(kept for result in results for kept in result.backbones),
    )
