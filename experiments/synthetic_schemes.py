"""Which environment schemes see a spurious feature, on data whose truth is known.

The structural model with training correlations 1, .6, .2 and test correlation -.5 (validation out
of distribution at -.2). For every scheme a few configurations are drawn, trained as one stack and
ranked on validation data by two rules, `id_val` and `ood_val`; the chosen one is trained again with
fresh seeds, and its sign accuracy on both test splits is what counts. No rule sees test data.
With `--classes 4` there are four classes instead, and their accuracy counts.

python experiments/synthetic_schemes.py [--draws 6] [--data-seeds 3] [--spurious vision|all]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.results import keep, show
from cmir.config import TrialConfig
from cmir.data import DevelopmentData, MultimodalDataset, load_dataset
from cmir.data.synthetic.generation import LAST_MODALITY_SPURIOUS, generate
from cmir.data.synthetic.structural_model import ModalitySpec
from cmir.method.networks.features import load_features
from cmir.method.networks.predictions import predict
from cmir.method.networks.sized_network import network_for
from cmir.method.training.fitting import fit
from cmir.method.training.replica_stack import Stack
from cmir.method.training.reports import Diverged, TrialResult
from cmir.method.training.split_scores import split_metrics
from experiments.synthetic_arms import ARMS, MODALITIES, Arm, configured

RULES = ("id_val", "ood_val")
METRIC, METRIC_OF_CLASSES = "acc2_non0", "accuracy"
SIZES = {"text": 64, "audio": 32, "vision": 32}
SAMPLES = {"train": 3000, "id_val": 600, "ood_val": 600, "id_test": 1000, "ood_test": 2000}
CORRELATIONS = (1.0, 0.6, 0.2)
SEARCH_SEEDS, FRESH_SEEDS = (0, 1), (1000, 1001, 1002, 1003, 1004)
CPU = torch.device("cpu")

Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One scheme on one data set of the structural model."""

    name: str
    folder: Path
    draws: int
    seed: int
    metric: str = METRIC


def write_data(
    folder: Path, seed: int, spurious: str, correlations: Sequence[float], classes: int = 0
) -> Path:
    """The data set of a seed; `spurious` names the modality that carries the link, or `all`."""
    strength = LAST_MODALITY_SPURIOUS
    modalities = {
        name: ModalitySpec(size, spurious=strength if spurious in (name, "all") else 0.0)
        for name, size in SIZES.items()
    }
    return generate(
        folder,
        modalities=modalities,
        samples=SAMPLES,
        correlations=correlations,
        task="classes" if classes else "regression",
        names=[f"class_{number}" for number in range(classes)],
        seed=seed,
    )


def run(task: Task) -> list[Row]:
    """Searches one scheme, trains its best again, reads the test splits: a row for each rule."""
    torch.set_num_threads(1)
    arm = ARMS[task.name]
    linked = load_dataset(task.folder / "linked")
    trained_on = linked if arm.linked else load_dataset(task.folder / "cut")
    drawn = arm.draw(task.draws, task.seed)
    configs = [configured(values, SEARCH_SEEDS, task.metric) for values in drawn]
    found = trained(trained_on.development(), configs)
    rows = []
    for rule in RULES:
        best = max(found, key=lambda index: found[index].metrics[f"{rule}/{task.metric}"])
        scores = tested(trained_on, linked, drawn[best], task.metric)
        chosen = {key: drawn[best][key] for key in drawn[best] if key in varied(arm)}
        rows.append({"scheme": task.name, "rule": rule, "data": task.seed, **scores, **chosen})
    return rows


def varied(arm: Arm) -> set[str]:
    """The keys that differ between the draws of a scheme."""
    rates = {f"environments.rate.{name}" for name in MODALITIES} if arm.rates else set()
    return {"training.learning_rate", *arm.search, *rates}


def trained(data: DevelopmentData, configs: Sequence[TrialConfig]) -> dict[int, TrialResult]:
    """Configurations of one structure as one stack, by their places; what diverged is left out."""
    stack, ended = Stack(data, configs, CPU), dict[int, TrialResult]()
    while stack.running:
        for index, report in stack.run_epoch().items():
            if not isinstance(report, Diverged) and report.result is not None:
                ended[index] = report.result
    return ended


def tested(
    trained_on: MultimodalDataset,
    linked: MultimodalDataset,
    values: Mapping[str, Any],
    metric: str,
) -> dict[str, float]:
    """Mean accuracy and spread of fresh seeds on both test splits of the linked data."""
    data = trained_on.development()
    *_, last = fit(data, configured(values, FRESH_SEEDS, metric))
    assert last.result is not None
    network = network_for(data, last.result.config.model)
    heldout = linked.heldout()
    features = load_features(heldout, last.result.config.model, CPU)
    weights = network.layout.unpack(last.result.weights)
    scores: dict[str, float] = {}
    for name, split in heldout.splits.items():
        found = predict(network, weights, features, split.rows, CPU).numpy()
        by_seed = split_metrics(found, split, heldout.task)[f"{name}/{metric}"]
        scores |= {name: float(by_seed.mean()), f"{name}_std": float(by_seed.std(ddof=1))}
    return scores


def summary(rows: Sequence[Row]) -> list[Row]:
    """Per scheme and rule: accuracies over the data sets, and the difference to the ERM baseline.

    The interval is Student's over the data sets, paired: each is a world of its own.
    """
    plain = {(row["rule"], row["data"]): row["ood_test"] for row in rows if row["scheme"] == "ERM"}
    shown = []
    for rule in RULES:
        for name in ARMS:
            own = [row for row in rows if (row["scheme"], row["rule"]) == (name, rule)]
            if not own:
                continue
            gains = np.array([row["ood_test"] - plain[rule, row["data"]] for row in own])
            shown.append(
                {
                    "rule": rule,
                    "scheme": name,
                    "in": _mean(own, "id_test"),
                    "out": _mean(own, "ood_test"),
                    "out - plain": _interval(gains),
                    "data sets": len(own),
                }
            )
    return shown


def _mean(rows: Sequence[Row], key: str) -> str:
    values = [row[key] for row in rows]
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def _interval(gains: np.ndarray) -> str:
    mean = f"{gains.mean():+.3f}"
    if len(gains) < 2:
        return mean
    half = student.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains))
    return f"{mean} [{gains.mean() - half:+.3f}, {gains.mean() + half:+.3f}]"


def main() -> None:
    """Parses the command line, runs everything, prints the table and keeps the rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=6, help="configurations of each scheme")
    parser.add_argument("--data-seeds", type=int, default=3, help="data sets")
    parser.add_argument("--spurious", choices=(*MODALITIES, "all"), default="vision")
    parser.add_argument("--classes", type=int, default=0, help="so many instead of a scale")
    parser.add_argument("--schemes", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, help="Parquet file")
    given = parser.parse_args()
    names = dict.fromkeys(["ERM", *given.schemes])
    metric = METRIC_OF_CLASSES if given.classes else METRIC
    with tempfile.TemporaryDirectory() as folder:
        tasks = []
        for seed in range(given.data_seeds):
            path = Path(folder, str(seed))
            for folder_name, rho in (("linked", CORRELATIONS), ("cut", (0.0, 0.0, 0.0))):
                write_data(path / folder_name, seed, given.spurious, rho, given.classes)
            tasks += [Task(name, path, given.draws, seed, metric) for name in names]
        with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
            rows: list[Row] = []
            for done in pool.map(run, tasks):
                rows += done
                print(f"{len(rows) // 2}/{len(tasks)}  {done[0]['scheme']}", flush=True)
                kept = keep(whole(rows), "synthetic_schemes", given.out)
    what = f"accuracy of {given.classes} classes" if given.classes else "sign accuracy"
    show(f"{what}, spurious link in {given.spurious}", summary(rows))
    print(f"kept in {kept}")


def whole(rows: Sequence[Row]) -> list[Row]:
    """The rows with the keys of all: a scheme has none of what others search."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in keys} for row in rows]


if __name__ == "__main__":
    main()
