"""A stack of replicas in training: configurations that agree on their structure, times seeds.

A replica leaves the stack when it stops early or when its configuration ends; the stack is
compacted and the next epoch costs less. Replicas never influence each other.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmir.config import TrialConfig
from cmir.data import DevelopmentData, SplitData
from cmir.method.environments.partitions import Partitions, partition_of
from cmir.method.losses.class_losses import label_contrasts, loss_of
from cmir.method.losses.constraints import prediction_errors
from cmir.method.losses.modulation import modulation_of
from cmir.method.losses.objective import Batch, Objective, Terms, prediction_loss, weighted_sum
from cmir.method.losses.replica_settings import REPORTED, check_structure, replica_settings
from cmir.method.networks.features import Features, load_features
from cmir.method.networks.model import Weights
from cmir.method.networks.predictions import predict
from cmir.method.networks.replicas import BATCH_ORDER, VIEWS, generator
from cmir.method.networks.sized_network import network_for
from cmir.method.training.dense_average import DenseAverage
from cmir.method.training.folds import folds_for
from cmir.method.training.label_erasure import with_label_erased
from cmir.method.training.optimiser import RowSettings, StackedAdamW
from cmir.method.training.precision import products_in
from cmir.method.training.reports import Diverged, EpochReport, State, TrialResult
from cmir.method.training.split_scores import ByReplica, goal_of, split_metrics, summary


class Stack:
    """The replicas of several configurations, trained together epoch by epoch."""

    def __init__(
        self,
        data: DevelopmentData,
        configs: Sequence[TrialConfig],
        device: torch.device,
        partitions: Partitions | None = None,
        features: Features | None = None,
    ) -> None:
        """Starts every replica from its own seed; `features` replace those of the data set.

        Raises:
            InputError: the configurations differ in more than what may vary between replicas, or
                their partition cannot be made.
        """
        check_structure(configs)
        self._started = time.perf_counter()
        self._data, self._configs, self._device = data, list(configs), device
        self._shared = shared = configs[0]
        self._goal, self._folds = goal_of(shared.objective, data.task), folds_for(data, shared)
        self._network = network_for(data, shared.model)
        self._features = load_features(data, shared.model, device) if features is None else features
        partitions, wanted = partitions or Partitions(data), partition_of(shared.environments)
        groups = partitions.groups(*wanted)
        self._diagnosis = partitions.diagnosis(*wanted)
        self._rows = torch.from_numpy(data.train.rows).to(device)
        self._labels = torch.from_numpy(data.train.labels).to(device)
        self._groups = torch.from_numpy(groups).to(device)
        kind = prediction_loss(shared, data.task)
        loss = loss_of(kind, shared.loss, data.task, data.train.labels)
        self._objective = Objective(self._network, shared, loss, int(groups.max()) + 1)
        self._epoch = 0
        self._start_replicas()

    @property
    def running(self) -> tuple[int, ...]:
        """Indices of the configurations that are still in training."""
        return tuple(sorted(set(self._owner[self._alive].tolist())))

    def run_epoch(self) -> dict[int, EpochReport | Diverged]:
        """Trains and evaluates one epoch.

        Returns:
            for each running configuration its report, with the result if it has ended, or its
            divergence, after which it has left the stack.
        """
        began, running = time.perf_counter(), self.running
        self._epoch += 1
        faults = self._train()
        faults |= self._evaluate(faults)
        self._retire(faults)
        seconds = time.perf_counter() - began
        return {index: faults.get(index) or self._report(index, seconds) for index in running}

    def drop(self, configs: Collection[int]) -> None:
        """Takes configurations out of the stack; they keep nothing."""
        self._keep([r for r in self._alive if int(self._owner[r]) not in configs])

    def _start_replicas(self) -> None:
        members = [(i, seed) for i, config in enumerate(self._configs) for seed in config.seeds]
        owners = [self._configs[index] for index, _ in members]
        self._owner = np.array([index for index, _ in members])
        self._seeds = [seed for _, seed in members]
        self._alive = list(range(len(members)))
        self._orders = [generator(seed, BATCH_ORDER, "cpu") for seed in self._seeds]
        self._noise = [generator(seed, VIEWS, self._device) for seed in self._seeds]
        self._all_settings = replica_settings(owners, list(self._network.sizes), self._device)
        self._settings = self._all_settings
        start = torch.stack([self._objective.layout.initial(seed) for seed in self._seeds])
        self._memory = self._objective.start_memory(len(members), self._device)
        self._best_weights = start[:, : self._network.layout.size].clone()
        self._best_epochs = np.zeros(len(members), dtype=np.int64)
        self._best_values = np.full(len(members), np.inf)
        self._metrics: ByReplica = {}
        rows = [RowSettings(c.training.learning_rate, c.training.weight_decay) for c in owners]
        clip = self._shared.training.gradient_clip
        averaging = self._shared.training.averaging == "polynomial"
        named = self._objective.layout.unpack(start.to(self._device))
        self._optimiser = StackedAdamW(named, rows, clip, averaging)
        is_dense = self._shared.training.averaging == "swad"
        self._dense = DenseAverage(len(members)) if is_dense else None
        self._modulation = modulation_of(self._shared, self._network, self._objective.loss)

    def state(self) -> dict[str, Any]:
        """What `resume` goes on from, after an epoch; it shares memory with this stack."""
        return {
            "epoch": self._epoch,
            "seconds": time.perf_counter() - self._started,
            "alive": self._alive,
            "orders": [source.get_state() for source in self._orders],
            "noise": [source.get_state() for source in self._noise],
            "memory": self._memory,
            "optimiser": self._optimiser.state(),
            "dense": None if self._dense is None else self._dense.state(),
            "best_weights": self._best_weights,
            "best_epochs": torch.from_numpy(self._best_epochs),
            "best_values": torch.from_numpy(self._best_values),
            "metrics": {name: torch.from_numpy(found) for name, found in self._metrics.items()},
        }

    def resume(self, state: State) -> None:
        """Goes on, before its first epoch, where a stack of the same configurations was."""
        self._keep(list(state["alive"]))
        self._epoch, self._started = state["epoch"], time.perf_counter() - state["seconds"]
        for own, kept in ((self._orders, state["orders"]), (self._noise, state["noise"])):
            for source, value in zip(own, kept, strict=True):
                source.set_state(value)
        self._memory = state["memory"].to(self._device, copy=True)
        self._optimiser.resume(state["optimiser"])
        if self._dense is not None:
            self._dense.resume(state["dense"], self._device)
        self._best_weights.copy_(state["best_weights"])
        self._best_epochs = state["best_epochs"].numpy().copy()
        self._best_values = state["best_values"].numpy().copy()
        self._metrics = {k: found.numpy().copy() for k, found in state["metrics"].items()}

    def _train(self) -> dict[int, Diverged]:
        """One pass over the training samples; returns the configurations that diverged."""
        anneal = self._shared.loss.penalty_anneal_epochs
        active = self._settings.active()
        if self._epoch == anneal + 1 > 1:
            self._forget((self._settings.penalty > 0).nonzero().flatten().tolist())
        with products_in(self._shared.training.precision):
            history = [self._step(batch, active, self._epoch > anneal) for batch in self._batches()]
        stacked = {
            name: torch.stack([terms[name] for terms in history]).cpu() for name in history[0]
        }
        losses = {name: values.mean(0).numpy() for name, values in stacked.items()}
        losses |= self._idle_terms(active)
        self._note({f"train/loss_{name}": values for name, values in losses.items()})
        return self._faults(stacked)

    def _step(self, batch: Batch, active: Sequence[str], penalty_counts: bool) -> Terms:
        weights = self._optimiser.weights
        noise = [self._noise[replica] for replica in self._alive]
        terms, self._memory = self._objective.terms(
            weights, batch, self._settings, noise, active, self._memory
        )
        if self._modulation is not None:
            self._optimiser.change = self._modulation.on(weights, batch.inputs, batch.labels, noise)
        self._follow(weighted_sum(terms, self._settings, penalty_counts))
        if self._dense is not None:
            self._dense.add(self._optimiser.weights)
        self._last_batch = batch
        return {name: value.detach() for name, value in terms.items()}

    def _follow(self, losses: Tensor) -> None:
        self._optimiser.step(losses)

    def _forget(self, replicas: Sequence[int]) -> None:
        self._optimiser.reset(replicas)

    def _idle_terms(self, active: Sequence[str]) -> ByReplica:
        """Terms whose weight is zero everywhere, on the last batch only, without gradient."""
        idle = [name for name in REPORTED if name not in active]
        if not idle:
            return {}
        noise = [generator(self._seeds[r], VIEWS, self._device) for r in self._alive]
        with torch.no_grad():
            weights = self._optimiser.weights
            terms, _ = self._objective.terms(
                weights, self._last_batch, self._settings, noise, idle, self._memory
            )
        return {name: terms[name].cpu().numpy() for name in idle}

    def _batches(self) -> Iterator[Batch]:
        """Each replica's own order of the samples; what does not fill a batch waits an epoch."""
        size = len(self._rows) if self._folds is None else self._folds.smallest
        batch = min(self._shared.training.batch_size, size)
        orders = [self._order(replica)[:size] for replica in self._alive]
        order = torch.stack(orders)[:, : size // batch * batch].to(self._device)
        return (self._gather(chosen) for chosen in torch.split(order, batch, dim=1))

    def _order(self, replica: int) -> Tensor:
        """Positions of the samples that a replica learns from, in a new order of its own."""
        if self._folds is None:
            return torch.randperm(len(self._rows), generator=self._orders[replica])
        kept = torch.from_numpy(self._folds.kept(self._seeds[replica]))
        return kept[torch.randperm(len(kept), generator=self._orders[replica])]

    def _gather(self, chosen: Tensor) -> Batch:
        rows = self._rows[chosen]
        inputs = {name: feature.gather(rows) for name, feature in self._features.items()}
        return Batch(inputs, self._labels[chosen], self._groups[chosen])

    def _faults(self, history: Mapping[str, Tensor]) -> dict[int, Diverged]:
        """The first non-finite term of each configuration: values `(step, living replica)`."""
        faults: dict[int, Diverged] = {}
        bad = torch.stack([~values.isfinite() for values in history.values()], dim=1)
        names = list(history)
        for column, replica in enumerate(self._alive):
            hits = bad[:, :, column].nonzero()
            if len(hits):
                term = names[int(hits[0, 1])]
                fault = Diverged(self._epoch, term, self._seeds[replica])
                faults.setdefault(int(self._owner[replica]), fault)
        return faults

    def _evaluate(self, faults: Mapping[int, Diverged]) -> dict[int, Diverged]:
        """Scores the living replicas and keeps their weights where the objective is better."""
        weights = self._optimiser.evaluated
        predictions = self._predictions(weights, (self._data.id_val, self._data.ood_val))
        finite = np.logical_and.reduce(
            [np.isfinite(p).reshape(len(p), -1).all(axis=1) for _, p in predictions]
        )
        found: dict[int, Diverged] = {}
        for column in np.flatnonzero(~finite):
            replica = self._alive[int(column)]
            if int(self._owner[replica]) not in faults:
                fault = Diverged(self._epoch, "evaluation", self._seeds[replica])
                found.setdefault(int(self._owner[replica]), fault)
        scores = self._scores(predictions, finite) | self._fold_scores(weights, self._alive)
        self._keep_best(weights, scores, finite)
        if self._dense is not None:
            self._dense.close_epoch(self._validation_losses(predictions))
        return found

    def _validation_losses(
        self, predictions: Sequence[tuple[SplitData, np.ndarray]]
    ) -> npt.NDArray[np.floating[Any]]:
        """The mean prediction loss of each living replica on the split of the objective."""
        split, scores = next(one for one in predictions if one[0].name == self._goal.split)
        labels = torch.from_numpy(split.labels)[None]
        errors = prediction_errors(torch.from_numpy(scores), labels, self._objective.loss)
        return errors.mean(1).numpy()

    def _predictions(
        self, weights: Weights, splits: Sequence[SplitData]
    ) -> list[tuple[SplitData, np.ndarray]]:
        """Predictions of each split, `(replica, n)` or `(replica, n, C)`, from one pass."""
        rows = np.concatenate([split.rows for split in splits])
        scores = predict(self._network, weights, self._features, rows, self._device).cpu().numpy()
        ends = np.cumsum([len(split.rows) for split in splits])[:-1]
        return list(zip(splits, np.split(scores, ends, axis=1), strict=True))

    def _scores(
        self, predictions: Sequence[tuple[SplitData, np.ndarray]], finite: np.ndarray
    ) -> ByReplica:
        scores: ByReplica = {}
        for split, values in predictions:
            usable = np.where(finite.reshape(-1, *[1] * (values.ndim - 1)), values, 0.0)
            scores |= split_metrics(usable, split, self._data.task)
        return scores

    def _fold_scores(self, weights: Weights, replicas: Sequence[int]) -> ByReplica:
        """Of each replica on the fold that it has left out, NaN where a prediction is not finite;
        empty without folds."""
        found: ByReplica = {}
        for fold in range(0 if self._folds is None else self._folds.count):
            assert self._folds is not None
            own = [p for p, r in enumerate(replicas) if self._seeds[r] % self._folds.count == fold]
            if not own:
                continue
            chosen = {name: weight[own] for name, weight in weights.items()}
            predictions = self._predictions(chosen, (self._folds.held(fold),))
            values = predictions[0][1].reshape(len(own), -1)
            finite = np.isfinite(values).all(axis=1)
            for name, scores in self._scores(predictions, finite).items():
                kept = found.setdefault(name, np.full(len(replicas), np.nan))
                kept[own] = np.where(finite, scores, np.nan)
        return found

    def _keep_best(self, weights: Weights, scores: ByReplica, finite: np.ndarray) -> None:
        values, alive = self._goal.sign * self._goal.value(scores), np.array(self._alive)
        better = finite & (values < self._best_values[alive])
        replicas, columns = alive[better], np.flatnonzero(better)
        self._best_values[replicas] = values[better]
        self._best_epochs[replicas] = self._epoch
        for replica, column in zip(replicas, columns, strict=True):
            row = self._network.layout.pack({name: w[column, None] for name, w in weights.items()})
            self._best_weights[replica] = row[0].cpu()
        self._note(scores)

    def _note(self, values: ByReplica) -> None:
        """Keeps the newest value of each living replica."""
        for name, found in values.items():
            self._metrics.setdefault(name, np.zeros(len(self._owner)))[self._alive] = found

    def _retire(self, faults: Mapping[int, Diverged]) -> None:
        """Lets replicas go that diverged, that stopped improving, or that had all their epochs."""
        patience, anneal = self._shared.training.patience, self._shared.loss.penalty_anneal_epochs
        if self._epoch == self._shared.training.epochs:
            self._keep([])
            return
        self._keep(
            [
                replica
                for replica in self._alive
                if int(self._owner[replica]) not in faults
                and self._epoch - max(anneal, self._best_epochs[replica]) < patience
                and not self._is_overfitted(replica)
            ]
        )

    def _is_overfitted(self, replica: int) -> bool:
        """Whether its dense average has all that belongs in it."""
        if self._dense is None:
            return False
        return bool(self._dense.has_ended[self._alive.index(replica)])

    def _keep_averages(self, replicas: list[int]) -> None:
        """Puts the dense averages of those that leave in place of their best epochs."""
        assert self._dense is not None
        for place, replica in enumerate(self._alive):
            if replica not in replicas and self._epoch > 0:
                average = {k: w[None] for k, w in self._dense.average(place).items()}
                self._best_weights[replica] = self._network.layout.pack(average)[0].cpu()
        self._dense.keep([self._alive.index(replica) for replica in replicas])

    def _keep(self, replicas: list[int]) -> None:
        if replicas == self._alive:
            return
        if self._dense is not None:
            self._keep_averages(replicas)
        places = [self._alive.index(replica) for replica in replicas]
        self._alive = replicas
        if replicas:
            self._optimiser.keep(places)
            self._memory = self._memory[places]
            self._settings = self._all_settings.at(torch.tensor(replicas, device=self._device))

    def _report(self, index: int, seconds: float) -> EpochReport:
        members = np.flatnonzero(self._owner == index)
        metrics = summary({name: values[members] for name, values in self._metrics.items()})
        objective = float(np.mean(self._goal.sign * self._best_values[members]))
        result = None if index in self.running else self._result(index, members)
        return EpochReport(self._epoch, objective, metrics, result, seconds)

    def _result(self, index: int, members: np.ndarray) -> TrialResult:
        weights = self._best_weights[torch.from_numpy(members)]
        data = self._data
        splits = (data.train, data.id_val, data.ood_val)
        named = self._network.layout.unpack(weights.to(self._device))
        if self._shared.loss.label_erasure:
            named = self._without_label(named)
            weights = self._network.layout.pack(named).cpu()
        predictions = self._predictions(named, splits)
        by_seed = self._scores(predictions, np.ones(len(members), dtype=bool))
        by_seed |= self._fold_scores(named, members.tolist())
        return TrialResult(
            config=self._configs[index],
            objective=float(np.mean(self._goal.value(by_seed))),
            metrics=summary(by_seed),
            by_seed={name: tuple(values.tolist()) for name, values in by_seed.items()},
            best_epochs=tuple(self._best_epochs[members].tolist()),
            weights=weights,
            seconds=time.perf_counter() - self._started,
            diagnosis=self._diagnosis,
        )

    def _without_label(self, named: Weights) -> dict[str, Tensor]:
        data, loss = self._data, self._objective.loss
        contrasts = label_contrasts(self._labels, loss, self._network.outputs)
        return with_label_erased(self._network, named, self._features, data.train.rows, contrasts)
