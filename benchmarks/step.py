"""How close the training step comes to its matrix products alone, by sizes, device and precision.

    python benchmarks/step.py
    python benchmarks/step.py --replicas auto          (on a GPU: from one replica to a full memory)

P configurations of one architecture times S seeds are R replicas, trained as one stack on generated
data of CMU-MOSI's shapes; no Ray, no Optuna, no MLflow. The share is the time of the step's matrix
products (`products.py`) over the time of the step. Configurations per hour are those of the whole
training core: making the stack, all epochs with their evaluation, and the results. Options that
take several values are combined.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, get_args

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.products import Bench, Product, operations, products_of
from benchmarks.support.measuring import free_memory, seconds
from benchmarks.support.results import Row, keep, show
from benchmarks.support.step_cases import Case, larger
from benchmarks.support.timed import BenchmarkError, end_as_interrupt, scratch
from benchmarks.support.training_core import WARM_UP, Training, shortened
from cmir.cli import positive
from cmir.config import Precision
from cmir.data import DevelopmentData, load_dataset
from cmir.data.synthetic.generation import Shape, generate
from cmir.extensions import VIEWS
from cmir.method.networks.sized_network import network_for
from cmir.method.training.precision import products_in
from cmir.runner.scheduling.placement import trials_per_gpu

SHAPES: Mapping[str, Shape] = {"text": (128, 40), "audio": 73, "vision": 100}
CACHED_REPLICAS = 4
VALIDATION = {"id_val": 164, "ood_val": 201}
SHARE_AIM, RATIO_AIM = 0.6, 1.5
ONE, MANY = 1, 24
SHORT_STEPS, RUNS = 2, 5


def write_data(folder: Path, samples: int) -> DevelopmentData:
    """Generated data of the shapes of CMU-MOSI."""
    sizes = {"train": samples, **VALIDATION}
    return load_dataset(generate(folder, modalities=SHAPES, samples=sizes)).development()


def measure(case: Case, data: DevelopmentData, device: torch.device, repeat: int) -> Row:
    """Times the step of one case, and its products: a row of raw numbers.

    Raises:
        BenchmarkError: too few samples for the batch, or an epoch did not do its work.
        torch.OutOfMemoryError: the stack does not fit the GPU.
    """
    if len(data.train) < 2 * SHORT_STEPS * case.batch:
        raise BenchmarkError(
            f"a batch of {case.batch} needs {2 * SHORT_STEPS * case.batch} training samples, but "
            f"there are {len(data.train)}"
        )
    trials = case.trials()
    whole = Training(data, trials, device, repeat + 1)
    short = Training(shortened(data, SHORT_STEPS * case.batch), trials, device, repeat + 1)
    network = network_for(data, trials[0].model)
    products = products_of(network, trials[0], case.replicas, case.batch)
    # On a CPU a few replicas stay in the processor's cache, and so the limit may be reached.
    few = case.seeds * max(1, CACHED_REPLICAS // case.seeds)
    alone = [Alone(products, 1.0, device, case.precision)]
    if device.type == "cpu" and few < case.replicas:
        some = products_of(network, trials[0], few, case.batch)
        alone.append(Alone(some, case.replicas / few, device, case.precision))
    turns = _turns(whole, short, alone, repeat)
    return {
        **asdict(case),
        "replicas": case.replicas,
        "step_seconds": median(step for _, step, _ in turns),
        "products_seconds": median(alone for _, _, alone in turns),
        "share": median(alone / step for _, step, alone in turns),
        "operations": operations(products),
        "start_seconds": whole.start,
        "epoch_seconds": median(epoch for epoch, _, _ in turns),
        "last_epoch_seconds": whole.epoch(),
        "peak_bytes": whole.peak,
        "trials_per_gpu": _fitting(device, whole.peak),
    }


def _fitting(device: torch.device, peak: int) -> int:
    """How many processes with such a stack fit the GPU as it is; 0 on a CPU."""
    if device.type == "cpu":
        return 0
    return trials_per_gpu([torch.cuda.mem_get_info(device)[0]], peak)


class Alone:
    """Products to be timed by themselves, `times` times over."""

    def __init__(
        self, products: Sequence[Product], times: float, device: torch.device, precision: Precision
    ) -> None:
        self._bench, self._times = Bench(products, device), times
        self._device, self._precision = device, precision
        for _ in range(WARM_UP):
            self.seconds()

    def seconds(self) -> float:
        """Median of a few runs."""
        with products_in(self._precision):
            runs = [seconds(self._bench.run, self._device) for _ in range(RUNS)]
        return self._times * median(runs)


def _turns(
    whole: Training, short: Training, alone: Sequence[Alone], repeat: int
) -> list[tuple[float, float, float]]:
    """Seconds of an epoch, of one of its steps, and of a step's products, taken in turns.

    What an epoch costs beside its steps, such as evaluation, is in one of many steps and in one of
    few, and drops out of their difference. In turns, so that a machine that others use slows all.
    """
    found = []
    for _ in range(repeat):
        epoch = whole.epoch()
        step = (epoch - short.epoch()) / (whole.steps - short.steps)
        found.append((epoch, step, min(one.seconds() for one in alone)))
    return found


def growing(
    cases: Iterable[Case], measured: Callable[[Case], Row], free: Callable[[], int | None]
) -> list[Row]:
    """Measures larger and larger cases until the next would not fit the `free` bytes."""
    rows: list[Row] = []
    for case in cases:
        room = free()
        if rows and room is not None:
            needed = rows[-1]["peak_bytes"] * case.replicas / rows[-1]["replicas"]
            if needed > room:
                break
        try:
            rows.append(measured(case))
        except torch.OutOfMemoryError:
            break
    return rows


def line(row: Row, epochs: int) -> Row:
    """What is shown of a row."""
    return {
        "view": row["view"],
        "K": row["views"],
        "P": row["configurations"],
        "R": row["replicas"],
        "d": row["representation_size"],
        "d'": row["hidden_size"],
        "batch": row["batch"],
        "precision": row["precision"],
        "step ms": 1e3 * row["step_seconds"],
        "ms per R": 1e3 * row["step_seconds"] / row["replicas"],
        "products ms": 1e3 * row["products_seconds"],
        "share": row["share"],
        "GFLOPS": row["operations"] / row["step_seconds"] / 1e9,
        "of products": row["operations"] / row["products_seconds"] / 1e9,
        "epoch s": row["epoch_seconds"],
        "configs/h": configurations_per_hour(row, epochs),
        "peak MB": row["peak_bytes"] / 1e6,
        "per GPU": row["trials_per_gpu"],
    }


def configurations_per_hour(row: Row, epochs: int) -> float:
    """Of a whole training core: its start, so many epochs, the results."""
    whole = row["start_seconds"] + (epochs - 1) * row["epoch_seconds"] + row["last_epoch_seconds"]
    return float(3600 * row["configurations"] / whole)


def ratio(rows: Sequence[Row]) -> float | None:
    """Time of a step of 24 replicas over that of one; None where one of them was not measured."""
    steps = {row["replicas"]: row["step_seconds"] for row in rows}
    return steps[MANY] / steps[ONE] if {ONE, MANY} <= steps.keys() else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, measures, prints and keeps the numbers."""
    given = _parse(arguments)
    end_as_interrupt()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    rows: list[Row] = []
    with scratch() as folder:
        data = write_data(folder / "data", given.samples)

        def measured(case: Case) -> Row:
            return measure(case, data, device, given.repeat)

        for case in _cases(given):
            if given.replicas == "auto":
                grown = growing(larger(case, given.most), measured, lambda: free_memory(device))
                rows += grown
                _tell_ratio(grown)
            else:
                rows.append(measured(case))
    about = {"device": _device_name(device), "threads": given.threads, "epochs": given.epochs}
    load = round(os.getloadavg()[0], 1)
    show(
        f"training step on {about['device']}, {given.threads} threads, load {load}; share of the "
        f"limit, aim {SHARE_AIM}; configurations per hour with {given.epochs} epochs",
        [line(row, given.epochs) for row in rows],
    )
    kept = [
        {**row, "configurations_per_hour": configurations_per_hour(row, given.epochs), **about}
        for row in rows
    ]
    print(f"kept in {keep(kept, 'step', given.out)}")
    return 0


def _cases(given: argparse.Namespace) -> Iterator[Case]:
    configurations = [1] if given.replicas == "auto" else given.configurations
    for view, count, size, hidden, batch, precision, many, seeds in product(
        given.view,
        given.count,
        given.representation,
        given.hidden,
        given.batch,
        given.precision,
        configurations,
        given.seeds,
    ):
        # Without views there is nothing else that the label could be predicted from.
        views, predicted = (0, "clean") if view == "none" else (count, given.prediction_views)
        yield Case(many, seeds, size, hidden, batch, view, views, predicted, precision)


def _tell_ratio(rows: Sequence[Row]) -> None:
    found = ratio(rows)
    last = rows[-1]
    if found is not None:
        times = f"{MANY} replicas take {found:.2f} times the step of {ONE}"
        print(f"{last['view']}: {times} (aim below {RATIO_AIM})")
    print(f"{last['replicas']} replicas are the most that fit the memory, or that --most allows")


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.machine()}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    best = "cuda" if torch.cuda.is_available() else "cpu"
    several: dict[str, Any] = {"type": positive, "nargs": "+"}
    parser.add_argument("--configurations", **several, default=[8, 1], help="P, in one stack")
    parser.add_argument("--seeds", **several, default=[3], help="of each configuration")
    parser.add_argument("--representation", **several, default=[150], help="the paper's d")
    parser.add_argument("--hidden", **several, default=[128], help="the paper's d'")
    parser.add_argument("--batch", **several, default=[48])
    parser.add_argument("--count", **several, default=[4], help="K, views of a sample")
    parser.add_argument("--view", nargs="+", choices=("none", *VIEWS), default=["noise", "swap"])
    parser.add_argument("--prediction-views", choices=("all", "clean"), default="all")
    parser.add_argument("--precision", nargs="+", choices=get_args(Precision), default=["full"])
    parser.add_argument("--device", default=best)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--samples", type=positive, default=1280, help="of training")
    parser.add_argument("--replicas", choices=["auto"], help="grow until the memory is full")
    parser.add_argument("--most", type=positive, default=4096, help="replicas, with auto")
    parser.add_argument("--repeat", type=positive, default=5, help="times; medians are shown")
    parser.add_argument("--epochs", type=positive, default=15, help="of a whole training")
    parser.add_argument("--out", type=Path, help="Parquet file, in place of benchmarks/results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
