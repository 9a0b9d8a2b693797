"""The benchmarks do what they say: the same network, the same work, the numbers in the table."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from benchmarks import overhead
from benchmarks.stacks import plain_training
from benchmarks.stacks.plain_cmir import (
    KNOWN,
    Encoder,
    PlainCmir,
    Vectors,
    check,
    erase,
    loss_terms,
    noise,
    swap,
    total_loss,
)
from benchmarks.support.results import keep
from benchmarks.support.timed import BenchmarkError, timed
from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.extensions import VIEWS
from cmir.method.environments.partitions import partition
from cmir.method.losses.objective import (
    Batch,
    Objective,
    prediction_loss,
    weighted_sum,
)
from cmir.method.losses.replica_settings import replica_settings
from cmir.method.networks.features import load_features
from cmir.method.networks.model import Network
from cmir.method.networks.replicas import generator
from cmir.method.networks.sized_network import network_for
from cmir.method.training.split_scores import split_metrics
from tests.support.made_data.learning_data import (
    learning_features,
    learning_samples,
    write_learning,
)
from tests.support.plain_network import random_weights

CPU = torch.device("cpu")
BASE: dict[str, Any] = {
    "model.representation_size": 6,
    "model.hidden_size": 8,
    "training.learning_rate": 0.01,
    "training.batch_size": 16,
    "loss.mutual_information": 0.3,
    "loss.reconstruction": 0.7,
}
PERTURBED = {"loss.invariance": 0.5, "loss.off_diagonal": 0.4, "environments.count": 3}
PARTITION = {"environments.partition": "random", "environments.groups": 3}
GROUPED = {**PARTITION, "loss.penalty_weight": 2.0}
SUMMED = {"loss.reduction": "sum", "loss.prediction": "mae"}
CONFIGURATIONS: list[dict[str, Any]] = [
    {"environments.view": "none"},
    {"environments.view": "noise", "environments.strength": 0.3, **PERTURBED},
    {"environments.view": "erase", "environments.rate.text": 0.9, **PERTURBED, **GROUPED},
    {"environments.view": "swap", "loss.prediction_views": "all", **PERTURBED, **GROUPED},
    {"environments.view": "swap", **SUMMED, **PERTURBED, **GROUPED},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose modalities are one sequence and one vector, as in MOSI."""
    place = tmp_path_factory.mktemp("benchmarks") / "learning"
    samples = learning_samples().drop("audio_length")
    features = {m: x for m, x in learning_features(samples).items() if m != "audio"}
    return write_learning(place, samples=samples, features=features)


@pytest.fixture(scope="module")
def data(folder: Path) -> DevelopmentData:
    return load_dataset(folder).development()


def full(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a stack beside ours is given."""
    defaults = {key: value for key, value in TrialConfig().flat().items() if key in KNOWN}
    return {**defaults, **BASE, **config}


def checked(config: Mapping[str, Any]) -> TrialConfig:
    return trial_config({**BASE, **config}, seeds=(0,))


def plain_copy(network: Network, weights: Mapping[str, Tensor]) -> PlainCmir:
    """A plain network with the weights of the one replica of a stack."""
    config = network.config
    pooled = [name for name, kind in network.kinds.items() if kind == "pool"]
    plain = PlainCmir(network.sizes, pooled, config.representation_size, config.hidden_size)
    for place, name in enumerate(network.sizes):
        unimodal = plain.unimodal[name]
        if isinstance(unimodal, nn.Linear):
            copy(unimodal, weights, f"unimodal.{name}.linear")
        else:
            copy_all(unimodal, weights, f"unimodal.{name}", ("first", "second"))
        encoder = plain.encoders[name]
        assert isinstance(encoder, Encoder)
        copy_all(encoder.body, weights, "encoder", ("first", "second"), place)
        copy(encoder.invariant, weights, "encoder.invariant", place)
        copy(encoder.spurious, weights, "encoder.spurious", place)
        layers = ("first", "second", "third")
        copy_all(plain.decoders[name], weights, "decoder", layers, place)
    copy_all(plain.predictor, weights, "predictor", ("first", "second", "third"))
    return plain


def copy_all(
    layers: nn.Module,
    weights: Mapping[str, Tensor],
    prefix: str,
    names: tuple[str, ...],
    place: int | None = None,
) -> None:
    found = [layer for layer in layers.children() if isinstance(layer, nn.Linear)]
    for layer, name in zip(found, names, strict=True):
        copy(layer, weights, f"{prefix}.{name}", place)


def copy(
    layer: nn.Linear, weights: Mapping[str, Tensor], name: str, place: int | None = None
) -> None:
    weight, bias = weights[f"{name}.weight"][0], weights[f"{name}.bias"][0]
    if place is not None:
        weight, bias = weight[place], bias[place]
    layer.weight.data.copy_(weight.T)
    layer.bias.data.copy_(bias[0])


@pytest.mark.parametrize("config", CONFIGURATIONS, ids=lambda config: config["environments.view"])
def test_the_plain_network_has_the_same_terms_and_gradient(
    data: DevelopmentData, folder: Path, config: dict[str, Any]
) -> None:
    trial, plain_data = checked(config), plain_training.read(str(folder))
    network = network_for(data, trial.model)
    stack = 0.5 * torch.cat([w.flatten() for w in random_weights(network.layout, 1).values()])[None]
    stack.requires_grad_()
    weights = network.layout.unpack(stack)
    rows = torch.from_numpy(data.train.rows[:16])
    inputs = {n: f.gather(rows[None]) for n, f in load_features(data, trial.model, CPU).items()}
    environments = trial.environments
    groups = partition(data, environments.partition, environments.group_count)[:16]
    labels = torch.from_numpy(data.train.labels[:16])
    settings = replica_settings([trial], list(network.sizes), CPU)
    batch = Batch(inputs, labels[None], torch.from_numpy(groups)[None])
    noise = [generator(7, 0, "cpu")]
    loss = prediction_loss(trial, data.task)
    objective = Objective(network, trial, loss, int(groups.max()) + 1)
    memory = objective.start_memory(1, CPU)
    terms, _ = objective.terms(weights, batch, settings, noise, settings.active(), memory)
    (ours,) = torch.autograd.grad(weighted_sum(terms, settings, True).sum(), stack)

    def same_views(vectors: Vectors, config: Mapping[str, Any]) -> Vectors:
        stacked = torch.stack(list(vectors.values()))[None]
        drawn = VIEWS[environments.view].make(
            stacked, environments.views, settings.rates, [generator(7, 0, "cpu")]
        )[0]
        return dict(zip(vectors, drawn, strict=True))

    plain = plain_copy(network, {name: weight.detach() for name, weight in weights.items()})
    vectors = {name: values[data.train.rows[:16]] for name, values in plain_data.features.items()}
    found = loss_terms(plain, vectors, labels, torch.from_numpy(groups), full(config), same_views)
    total_loss(found, full(config)).backward()  # type: ignore[no-untyped-call]
    for name, value in found.items():
        torch.testing.assert_close(value, terms[name][0], rtol=1e-5, atol=1e-6)
    norm = torch.stack([p.grad.square().sum() for p in plain.parameters() if p.grad is not None])
    torch.testing.assert_close(norm.sum().sqrt(), ours.norm(), rtol=1e-4, atol=1e-6)
    prediction = network.forward(weights, inputs)[0]
    torch.testing.assert_close(plain(vectors), prediction, rtol=1e-5, atol=1e-6)


def test_the_plain_network_refuses_a_setting_it_would_ignore() -> None:
    with pytest.raises(ValueError, match=r"does not know loss\.penalty_anneal_epochs"):
        check({**full({}), "loss.penalty_anneal_epochs": 3})


def test_plain_noise_grows_with_the_view() -> None:
    torch.manual_seed(0)
    views = noise(torch.ones(400, 50), 3, 0.2)
    found = (views - 1).std(dim=(1, 2))
    torch.testing.assert_close(found, torch.tensor([0.2, 0.4, 0.6]), rtol=0.02, atol=0)


def test_plain_erasure_takes_whole_vectors_more_often_in_later_views() -> None:
    torch.manual_seed(0)
    views = erase(torch.ones(2000, 3), 4, 0.8)
    assert set(torch.unique(views.sum(2)).tolist()) == {0.0, 3.0}
    shares = (views == 0).all(2).float().mean(1)
    torch.testing.assert_close(shares, torch.tensor([0.2, 0.4, 0.6, 0.8]), rtol=0, atol=0.05)


def test_plain_swapping_brings_another_samples_vector() -> None:
    vector = torch.arange(20.0)[:, None]
    (swapped,) = swap(vector, 1, 1.0)
    assert (swapped != vector).all()
    assert set(swapped.flatten().tolist()) <= set(vector.flatten().tolist())


@pytest.mark.parametrize("scheme", ["none", "random", "kmeans", "speaker"])
def test_plain_groups_are_those_of_the_project(
    data: DevelopmentData, folder: Path, scheme: str
) -> None:
    count = 1 if scheme == "none" else 3
    found = plain_training.groups_of(plain_training.read(str(folder)), scheme, count)
    np.testing.assert_array_equal(found, partition(data, scheme, count))


def test_plain_metrics_are_those_of_the_project(data: DevelopmentData, folder: Path) -> None:
    torch.manual_seed(3)
    plain_data = plain_training.read(str(folder))
    model = PlainCmir(plain_data.sizes, plain_data.pooled, 6, 8)
    found = plain_training.evaluate(model, plain_data)
    with torch.no_grad():
        scores = model(plain_data.features)[None].numpy()
    for split in (data.id_val, data.ood_val):
        wanted = split_metrics(scores[:, split.rows], split, data.task)
        assert {name: found[name] for name in wanted} == pytest.approx(
            {name: float(value[0]) for name, value in wanted.items()}, abs=1e-6
        )


@pytest.mark.parametrize("with_loader", [True, False])
def test_plain_training_learns_and_keeps_its_best_weights(
    folder: Path, tmp_path: Path, with_loader: bool
) -> None:
    data, weights = plain_training.read(str(folder)), tmp_path / "weights.pt"
    config = full({"environments.view": "swap", **PERTURBED, **GROUPED})
    reports = list(plain_training.train(data, config, 0, 12, with_loader, weights))
    assert [report["epoch"] for report in reports] == list(range(1, 13))
    assert reports[-1]["train/loss_prediction"] < reports[0]["train/loss_prediction"]
    assert reports[-1]["objective"] == min(report["ood_val/mae"] for report in reports)
    kept = PlainCmir(data.sizes, data.pooled, 6, 8)
    kept.load_state_dict(torch.load(weights))
    assert plain_training.evaluate(kept, data)["ood_val/mae"] == reports[-1]["objective"]


def test_a_command_is_timed_with_all_its_processes(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.8: pass"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    timing = timed([sys.executable, "-c", script], tmp_path)
    assert timing.wall_seconds >= 0.8
    assert timing.cpu_seconds > 0.3


def test_a_failing_command_says_why(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"ended with 3:\nno data"):
        timed([sys.executable, "-c", "print('no data'); raise SystemExit(3)"], tmp_path)


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    child = "import os, time; open('child', 'w').write(str(os.getpid())); time.sleep(60)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with pytest.raises(BenchmarkError, match="still running at its time limit"):
        timed([sys.executable, "-c", script], tmp_path, timeout=2.0)
    assert ends_soon(Path("/proc", (tmp_path / "child").read_text(), "stat"))


def ends_soon(stat: Path) -> bool:
    """Whether a process is gone, or a zombie that its new parent has not collected."""
    for _ in range(50):
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_kept_numbers_name_machine_and_versions(tmp_path: Path) -> None:
    path = keep([{"stack": "cmir", "wall_seconds": 1.5}], "compare", tmp_path / "one.parquet")
    columns = set(pl.read_parquet(path).columns)
    assert {"stack", "wall_seconds", "time", "cpu", "cores", "version.torch"} <= columns


def test_overhead_is_the_step_between_two_sizes_whatever_the_start_took() -> None:
    raw = [sized(trials, 5, 9.0 + trials) for trials in (200, 100, 200, 100)]
    (line,) = overhead.trial_lines(raw)
    assert line["trials"] == "100 to 200"
    assert line["s per trial"] == pytest.approx(0.1)
    assert line["CPU s per trial"] == pytest.approx(0.2)
    (line,) = overhead.epoch_lines([sized(20, epochs, epochs) for epochs in (1, 51)])
    assert line["ms per epoch"] == pytest.approx(4.0)
    assert line["CPU ms per epoch"] == pytest.approx(8.0)


def sized(trials: int, epochs: int, start: float = 9.0) -> dict[str, Any]:
    """A sweep with .08 s and 4 ms an epoch for each trial, and a tail of 3 s."""
    ends = [start + (0.08 + 0.004 * epochs) * number for number in range(1, trials + 1)]
    seconds = ends[-1] + 3.0
    cpu = {"cpu_seconds": 2 * (seconds - start), "load_before": 0.0}
    return {"trials": trials, "epochs": epochs, "seconds": seconds, "ends": ends, **cpu}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_overhead_of_a_sweep_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert overhead.main(["--trials", "2", "4", "--only", "trials", "--out", str(out)]) == 0
    assert pl.read_parquet(out)["finished"].to_list() == [2, 4]
