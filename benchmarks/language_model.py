"""What a language model in training costs: ratios of epochs, and the memory of three seeds.

    python benchmarks/language_model.py --data data/mosi [--pairs 3] [--batches 8] [--threads 2]

The two of a ratio run in turn in one process, and the ratio is taken pair by pair, so that it holds
when the machine's speed drifts. With `--processor-time` seconds of the processor count, not of the
clock: on a machine that others use too, with one thread.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.stacks.plain_language import PlainLanguage
from benchmarks.support.results import Row, keep, ratios_of, show
from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset, write_dataset
from cmir.data.samples import read_samples
from cmir.method.language.pretrained.backbones import find_backbone
from cmir.method.language.pretrained.trained_backbone import language_of
from cmir.method.networks.predictions import predict
from cmir.method.networks.sized_network import network_for
from cmir.method.training.fitting import fit
from cmir.method.training.language_features import features_with_language
from cmir.method.training.reports import EpochReport

CPU = torch.device("cpu")
BATCH, RANK, SEEDS, EVALUATIONS = 48, 8, 3, 40
# What of a model is trained.
PARTS: dict[str, dict[str, Any]] = {
    "all": {},
    "top 2": {"training.backbone_layers": 2},
    "adapters": {"training.backbone_rank": RANK},
    "none": {"training.backbone_layers": 0},
}
# A ratio and the most that it should be.
GOALS = {
    "all layers / plain PyTorch loop": 1.1,
    "top 2 / all layers": 0.4,
    "adapters / all layers": 0.7,
    "evaluation, frozen / features as wide": 1.05,
}

Timed = Callable[[], object]


@dataclass(frozen=True)
class Setting:
    """What the command line asks for."""

    data: DevelopmentData
    wide: DevelopmentData
    backbone: str
    cache: Path
    pairs: int
    clock: Callable[[], float]

    def config(self, part: str, seeds: int = 1) -> TrialConfig:
        """A configuration that trains a part of the language model for as long as it is asked."""
        own: dict[str, Any] = {
            "model.backbone.text": self.backbone,
            "training.batch_size": BATCH,
            "training.epochs": 1000,
            "training.patience": 1000,
            **PARTS[part],
        }
        return trial_config(own, seeds=tuple(range(seeds)))

    def epochs(self, part: str, seeds: int = 1) -> Iterator[EpochReport]:
        """Each step is an epoch."""
        return fit(self.data, self.config(part, seeds), CPU, cache=self.cache)


def paired(setting: Setting, one: Timed, other: Timed) -> Row:
    """Median, least and largest ratio of the second to the first, and seconds of both."""
    for run in (one, other):
        run()
    times = [(_seconds(setting, one), _seconds(setting, other)) for _ in range(setting.pairs)]
    return {
        **ratios_of(times),
        "base s": median(base for base, _ in times),
        "s": median(new for _, new in times),
    }


def ratios(setting: Setting) -> Iterator[Row]:
    """One row for each of `GOALS`, and what a replica axis would gain."""
    plain = PlainLanguage(setting.data, find_backbone(setting.backbone))
    every = setting.epochs("all")
    whole = partial(next, every)
    pairs: dict[str, tuple[Timed, Timed]] = {
        "all layers / plain PyTorch loop": (plain.run_epoch, whole),
        "top 2 / all layers": (whole, partial(next, setting.epochs("top 2"))),
        "adapters / all layers": (whole, partial(next, setting.epochs("adapters"))),
        "evaluation, frozen / features as wide": evaluations(setting, setting.wide),
        "evaluation, frozen / the data's own features": evaluations(setting, setting.data),
    }
    for name, (one, other) in pairs.items():
        yield {"ratio": name, "at most": GOALS.get(name, ""), **paired(setting, one, other)}
    yield {"ratio": "top layers, replica axis / in turn", "at most": "", **axis(setting)}


def evaluations(setting: Setting, other: DevelopmentData) -> tuple[Timed, Timed]:
    """The predictions of an epoch on both validation splits, many times over.

    Args:
        setting: its data with a frozen language model.
        other: data for the same network without one.
    """
    frozen = setting.config("none", SEEDS)
    plain = trial_config({}, seeds=frozen.seeds)
    rows = np.concatenate([setting.data.id_val.rows, setting.data.ood_val.rows])

    def evaluation(data: DevelopmentData, config: TrialConfig) -> Timed:
        network = network_for(data, config.model)
        language = language_of(config, cache=setting.cache)
        features = features_with_language(data, config.model, language, CPU)
        start = torch.stack([network.layout.initial(seed) for seed in config.seeds])
        weights = network.layout.unpack(start)
        return lambda: [predict(network, weights, features, rows, CPU) for _ in range(EVALUATIONS)]

    return evaluation(other, plain), evaluation(setting.data, frozen)


def as_wide(folder: Path, backbone: str, out: Path) -> DevelopmentData:
    """A data set with features in place of texts, as wide as the vectors of a language model."""
    data, width = load_dataset(folder), find_backbone(backbone).width
    text = np.random.default_rng(0).standard_normal((len(data.modalities["text"].array), width))
    features = {name: modality.array for name, modality in data.modalities.items()}
    samples = read_samples(data.path)
    made = write_dataset(
        out,
        samples=samples.drop("text_length", strict=False),
        features=features | {"text": text.astype(np.float32)},
        task=data.task,
        name=data.name,
    )
    return load_dataset(made).development()


def axis(setting: Setting) -> Row:
    """Products of a layer's width for three seeds, forward and back: batched against in turn.

    It is the most that a replica axis over top layers could gain: its batches would be padded to
    the longest text of all seeds beside.
    """
    width, tokens = find_backbone(setting.backbone).width, 500
    given = torch.randn(SEEDS, tokens, width, requires_grad=True)
    weights = torch.randn(SEEDS, width, 4 * width, requires_grad=True)
    apart = [
        [tensor[seed].detach().requires_grad_() for tensor in (given, weights)]
        for seed in range(SEEDS)
    ]

    def in_turn() -> None:
        for own, weight in apart:
            torch.autograd.grad((own @ weight).sum(), (own, weight))

    def at_once() -> None:
        torch.autograd.grad(torch.bmm(given, weights).sum(), (given, weights))

    return paired(setting, partial(_repeat, in_turn), partial(_repeat, at_once))


def memory(arguments: Sequence[str]) -> Iterator[Row]:
    """Most memory of a process that trains one seed, and three, by what is trained.

    What is kept on disk was computed by a process before.
    """
    for part in ("all", "top 2", "adapters"):
        _held(arguments, part, 1)
        one, three = (_held(arguments, part, seeds) for seeds in (1, SEEDS))
        yield {"trained": part, "1 seed MB": one, "3 seeds MB": three, "ratio": three / one}


def _held(arguments: Sequence[str], part: str, seeds: int) -> float:
    command = [sys.executable, __file__, *arguments, "--train", part, str(seeds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _repeat(run: Timed, times: int = 10) -> None:
    for _ in range(times):
        run()


def _seconds(setting: Setting, run: Timed) -> float:
    before = setting.clock()
    run()
    return setting.clock() - before


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line, measures, prints the tables and keeps them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with raw_text")
    parser.add_argument("--backbone", default="minilm", help="name or folder (default: minilm)")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of epochs (default: 3)")
    parser.add_argument("--batches", type=int, help="of an epoch; default: those of the data")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (default: 2)")
    parser.add_argument("--processor-time", action="store_true", help="not that of the clock")
    shown = argparse.BooleanOptionalAction
    parser.add_argument("--memory", action=shown, default=True, help="of processes of their own")
    parser.add_argument("--out", type=Path, help="Parquet file")
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--train", nargs=2, metavar=("PART", "SEEDS"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    data = load_dataset(given.data).development()
    if given.batches:
        data = replace(data, train=data.train.first(given.batches * BATCH))
    clock = time.process_time if given.processor_time else time.perf_counter
    with TemporaryDirectory() as folder:
        cache = given.cache or Path(folder)
        wide = as_wide(given.data, given.backbone, Path(folder) / "wide")
        setting = Setting(data, wide, given.backbone, cache, given.pairs, clock)
        if given.train:
            _train(setting, given.train[0], int(given.train[1]))
            return
        rows = list(ratios(setting))
        show("an epoch as a ratio to another", rows)
        again = ["--data", str(given.data), "--backbone", given.backbone, "--batches", "2"]
        held = list(memory([*again, "--cache", folder])) if given.memory else []
        if held:
            show("most memory of a process", held)
    kept = [{"table": "ratios", **row} for row in rows] + [{"table": "memory", **r} for r in held]
    print(f"kept in {keep(kept, 'language_model', given.out)}")


def _train(setting: Setting, part: str, seeds: int) -> None:
    """Trains two epochs and prints the most memory that this process held."""
    reports = setting.epochs(part, seeds)
    for _ in range(2):
        next(reports)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
