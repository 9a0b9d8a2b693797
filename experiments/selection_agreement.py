"""How well each criterion of selection agrees with what happens on true new groups.

    python experiments/selection_agreement.py [--data data/mosi] [--draws 3] [--each 7]

Configurations of several schemes are trained and ranked by each criterion; Spearman's correlation
of the criterion with the error on groups that no criterion has seen says how well it selects, and
the regret how much worse its choice is than the best configuration.

Worlds: the structural model, four training environments and a reversed link in new ones; with
`--data` a data set with groups, of its development splits alone: a random half of the groups of
`ood_val` is the truth, the other half the `ood_val` that the criteria see.
What has been trained is in a file of JSON lines, and the same command continues it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.stats import rankdata, spearmanr

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.results import Row, show
from cmir.config import CV, TrialConfig, trial_config
from cmir.data import DevelopmentData, SplitData, load_dataset
from cmir.evaluation.disagreement import disagreement
from cmir.evaluation.probes.representations import model_of
from cmir.method.training.reports import TrialResult
from cmir.method.training.split_scores import GROUP_COLUMNS, split_metrics
from experiments.synthetic_arms import ARMS
from experiments.synthetic_schemes import trained, write_data

SCHEMES = ("ERM", "noise", "erase", "swap", "label-conditional k-means, V-REx", "error, V-REx")
CORRELATIONS = (1.0, 0.7, 0.4, 0.1)
SEEDS = (0, 1, 2)
# Of the training groups, those that the made `ood_val` holds.
MADE_SHARE = 0.15
TRUTH = "truth"


@dataclass(frozen=True, eq=False)
class World:
    """Data on which criteria are compared.

    Attributes:
        data: what trainings and criteria see; its `ood_val` are true new groups.
        made: groups taken from those of training, as `--shift held_out` does.
        truth: new groups that no criterion sees.
    """

    data: DevelopmentData
    made: SplitData
    truth: SplitData


def structural(folder: Path, draw: int) -> World:
    """The structural model, of which one training environment is held out."""
    dataset = load_dataset(write_data(folder, draw, "vision", CORRELATIONS))
    truth = dataset.heldout().splits["ood_test"]
    return world_of(dataset.development(), truth, draw)


def of_development(folder: Path, draw: int) -> World:
    """Half of the groups of `ood_val` are the truth; held-out data is not read."""
    data = load_dataset(folder).development()
    groups = groups_of(data.ood_val)
    names = np.random.default_rng([draw, 1]).permutation(np.unique(groups))
    is_truth = np.isin(groups, names[: (len(names) + 1) // 2])
    seen = replace(data, ood_val=part(data.ood_val, ~is_truth, "ood_val"))
    return world_of(seen, part(data.ood_val, is_truth, TRUTH), draw)


def world_of(data: DevelopmentData, truth: SplitData, draw: int) -> World:
    """Takes some groups out of training and out of `id_val`: they are the made new groups."""
    groups, known = groups_of(data.train), groups_of(data.id_val)
    names = np.random.default_rng([draw, 2]).permutation(np.unique(groups))
    out = names[: max(1, round(MADE_SHARE * len(names)))]
    inside = replace(
        data,
        train=part(data.train, ~np.isin(groups, out), "train"),
        id_val=part(data.id_val, ~np.isin(known, out), "id_val"),
    )
    return World(inside, part(data.train, np.isin(groups, out), "made"), replace(truth, name=TRUTH))


def groups_of(split: SplitData) -> np.ndarray:
    """The group `(n,)` of each sample, by the column that folds go by."""
    column = next(name for name in GROUP_COLUMNS if name in split.samples.columns)
    return split.samples[column].cast(str).to_numpy().astype(str)


def part(split: SplitData, chosen: np.ndarray, name: str) -> SplitData:
    """The chosen samples as a split of its own."""
    return SplitData(name, split.rows[chosen], split.labels[chosen], split.samples.filter(chosen))


def drawn(scheme: str, count: int, objective: str) -> list[TrialConfig]:
    """Configurations of a scheme, the same in every world and draw."""
    values = ARMS[scheme].draw(count, seed=1)
    return [trial_config(one, objective=objective, seeds=SEEDS) for one in values]


def scores(world: World, scheme: str, count: int) -> list[Row]:
    """Each configuration by all criteria and on the truth; what diverged is left out.

    All but cross-validation look at one model, whose epoch `id_val` has chosen, so that they differ
    in what they look at alone.
    """
    alone = trained(world.data, drawn(scheme, count, "id_val/mae"))
    folded = trained(world.data, drawn(scheme, count, f"{CV}/mae"))
    return [
        {"config": index, "cv": folded[index].metrics[f"{CV}/mae"], **looked_at(result, world)}
        for index, result in sorted(alone.items())
        if index in folded
    ]


def looked_at(result: TrialResult, world: World) -> dict[str, float]:
    """What the criteria see of a model, and the truth."""
    return {
        "id_val": result.metrics["id_val/mae"],
        "ood_val": result.metrics["ood_val/mae"],
        "made": error(result, world.data, world.made),
        "disagreement": float(disagreement(result, world.data).mean()),
        TRUTH: error(result, world.data, world.truth),
    }


def error(result: TrialResult, data: DevelopmentData, split: SplitData) -> float:
    """Mean absolute error over the seeds on a split of the same data set."""
    predictions = model_of(result, data).predictions(data, split.rows)
    return float(split_metrics(predictions, split, data.task)[f"{split.name}/mae"].mean())


CRITERIA: Mapping[str, Sequence[str]] = {
    "`id_val`": ("id_val",),
    "made `ood_val`": ("made",),
    "`cv`, folds of groups": ("cv",),
    "disagreement on new inputs": ("disagreement",),
    "mean rank of `id_val` and disagreement": ("id_val", "disagreement"),
    "mean rank of `cv` and disagreement": ("cv", "disagreement"),
    "true `ood_val`": ("ood_val",),
}


def agreement(rows: pl.DataFrame) -> list[Row]:
    """For each world and criterion Spearman's correlation and the regret, over the draws."""
    shown: list[Row] = []
    for (world,), own in rows.group_by("world", maintain_order=True):
        draws = [one for _, one in own.group_by("draw", maintain_order=True)]
        for name, columns in CRITERIA.items():
            found = [judged(one, columns) for one in draws]
            correlations, regrets = zip(*found, strict=True)
            shown.append(
                {
                    "world": world,
                    "criterion": name,
                    "Spearman": spread(correlations),
                    "regret": spread(regrets),
                    "configurations": "/".join(str(len(one)) for one in draws),
                }
            )
    return shown


def judged(rows: pl.DataFrame, columns: Sequence[str]) -> tuple[float, float]:
    """Spearman's correlation of a criterion with the truth, and the regret of its choice."""
    ranks = np.mean([rankdata(rows[column]) for column in columns], axis=0)
    truth = rows[TRUTH].to_numpy()
    return float(spearmanr(ranks, truth).statistic), float(truth[ranks.argmin()] - truth.min())


def spread(values: Sequence[float]) -> str:
    """The mean and every value."""
    return f"{np.mean(values):.2f} ({', '.join(f'{value:.2f}' for value in values)})"


def tasks(given: argparse.Namespace) -> Iterator[tuple[str, int, str]]:
    """World, draw and scheme of everything that is trained."""
    for world in ("structural", *(["development"] if given.data else [])):
        for draw in range(given.draws):
            for scheme in given.schemes:
                yield world, draw, scheme


def run(given: argparse.Namespace, kept: Path, folder: Path) -> list[dict[str, Any]]:
    """Trains what the file of results lacks; returns all rows."""
    lines = kept.read_text().splitlines() if kept.exists() else []
    rows = [json.loads(line) for line in lines]
    done = {(row["world"], row["draw"], row["scheme"]) for row in rows}
    worlds: dict[tuple[str, int], World] = {}
    for world, draw, scheme in tasks(given):
        if (world, draw, scheme) in done:
            continue
        if (world, draw) not in worlds:
            path = folder / f"{world}{draw}"
            made = structural(path, draw) if world == "structural" else None
            worlds[world, draw] = made or of_development(given.data, draw)
        names = {"world": world, "draw": draw, "scheme": scheme}
        found = [{**names, **one} for one in scores(worlds[world, draw], scheme, given.each)]
        with kept.open("a") as file:
            file.writelines(f"{json.dumps(row)}\n" for row in found)
        rows += found
        print(f"{world}, draw {draw}, {scheme}: {len(found)} configurations", flush=True)
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line, trains what is missing, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="dataset folder with groups (default: none)")
    parser.add_argument("--draws", type=int, default=3, help="of each world (default: 3)")
    parser.add_argument("--each", type=int, default=7, help="configurations a scheme (default: 7)")
    parser.add_argument("--schemes", nargs="+", default=SCHEMES, choices=list(ARMS))
    parser.add_argument("--out", type=Path, default=Path("selection_agreement.jsonl"))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = run(given, given.out, Path(folder))
    wanted = [r for r in rows if r["draw"] < given.draws and r["scheme"] in given.schemes]
    show("agreement with the error on true new groups", agreement(pl.DataFrame(wanted)))
    print(f"kept in {given.out}")


if __name__ == "__main__":
    main()
