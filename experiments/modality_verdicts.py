"""Whether the verdicts on modalities are right, on structural models whose truth is known.

    python experiments/modality_verdicts.py [--draws 20] [--first-seed 1000] [--record FILE]

In worlds where none, one or two of three modalities are spurious (`experiments/verdicts/worlds.py`)
a small search of rates is run, and judged as at the end of a sweep. Counted is how often exactly
the spurious ones are named, and how often anybody else is accused. Every world is a line of JSON;
a run that is started again continues. Seeds below 1000 were used to find the rule.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.results import show
from cmir.config import TrialConfig
from cmir.data import DevelopmentData, load_dataset
from cmir.method.training.fitting import fit
from cmir.method.training.reports import TrialResult
from cmir.runner.studies.records import TrialRecord
from cmir.sweep.modalities.erm_twin import erm_twin
from cmir.sweep.modalities.modality_findings import Asked, ModalityFindings, modality_findings
from cmir.sweep.modalities.modality_text import as_values
from experiments.verdicts.small_search import OBJECTIVE, SEEDS, searched
from experiments.verdicts.worlds import KINDS, MODALITIES, Kind, World, world

Line = dict[str, Any]

# How the verdict is reached -> where a line keeps it.
WAYS = {
    "sweep": "the ERM twin, epochs by id_val",
    "promotion": "the ERM baseline, epochs by ood_val",
    "rates": "the rates alone",
}


def line_of(one: World) -> Line:
    """Searches one world and judges its modalities in every way."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        data = load_dataset(one.write(Path(folder, "world"))).development()
        records, results = searched(data, one.seed)
        best = min(results.values(), key=lambda result: result.objective)
        found = judged(data, records, best)
    line: Line = {"kind": one.kind, "seed": one.seed, "spurious": list(one.spurious)}
    line |= {"steady": list(one.steady), "ood": one.ood, "samples": one.samples}
    line |= {way: as_values(findings)["modalities"] for way, findings in found.items()}
    return line | {"seconds": round(time.process_time() - started, 1)}


def judged(
    data: DevelopmentData, records: Sequence[TrialRecord], best: TrialResult
) -> dict[str, ModalityFindings]:
    """The verdicts in every way."""
    twin = erm_twin(best.config).model_copy(update={"seeds": SEEDS})
    asked = {
        "sweep": Asked(erm=_trained(data, twin), champion=best),
        "promotion": Asked(erm=_trained(data, twin.model_copy(update={"objective": OBJECTIVE}))),
        "rates": Asked(),
    }
    return {
        way: modality_findings(data, MODALITIES, records, OBJECTIVE, one)
        for way, one in asked.items()
    }


def _trained(data: DevelopmentData, config: TrialConfig) -> TrialResult:
    *_, last = fit(data, config)
    assert last.result is not None
    return last.result


def named(line: Line, way: str) -> list[str]:
    """The modalities that are called spurious, in alphabetical order."""
    return sorted(name for name, one in line[way].items() if one["verdict"] == "spurious")


def is_right(line: Line, way: str) -> bool:
    """Whether exactly the spurious ones are named."""
    return named(line, way) == sorted(line["spurious"])


def is_fair(line: Line, way: str) -> bool:
    """Whether nobody is named who is not spurious."""
    return set(named(line, way)) <= set(line["spurious"])


def table(lines: Sequence[Line]) -> list[Mapping[str, Any]]:
    """For each way and kind: how often right, how often fair, with exact 95 % intervals."""
    return [
        {
            "verdict by": WAYS[way],
            "spurious": kind,
            "worlds": len(own),
            "exactly the right ones": _share(sum(is_right(line, way) for line in own), len(own)),
            "nobody else accused": _share(sum(is_fair(line, way) for line in own), len(own)),
        }
        for way in WAYS
        for kind in KINDS
        if (own := [line for line in lines if line["kind"] == kind])
    ]


def _share(hits: int, of: int) -> str:
    interval = binomtest(hits, of).proportion_ci()
    return f"{hits}/{of} [{interval.low:.2f}, {interval.high:.2f}]"


def read(record: Path) -> list[Line]:
    """The whole lines of a record; one that was cut off is none."""
    if not record.exists():
        return []
    whole, _, _ = record.read_text().rpartition("\n")
    return [json.loads(text) for text in whole.splitlines()]


def add(record: Path, line: Line) -> None:
    """Writes one line, in place of what was cut off."""
    record.parent.mkdir(parents=True, exist_ok=True)
    lines = [*map(json.dumps, read(record)), json.dumps(line)]
    record.write_text("\n".join(lines) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line, judges what is missing, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=20, help="worlds of each kind (default: 20)")
    parser.add_argument("--first-seed", type=int, default=1000, help="of the worlds")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    record = Path("benchmarks", "results", "modality_verdicts.jsonl")
    parser.add_argument("--record", type=Path, default=record, help="file of JSON lines")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    seeds = range(given.first_seed, given.first_seed + given.draws)
    wanted: list[tuple[Kind, int]] = [(kind, seed) for seed in seeds for kind in given.kinds]
    done = {(line["kind"], line["seed"]) for line in read(given.record)}
    for kind, seed in (one for one in wanted if one not in done):
        line = line_of(world(kind, seed))
        add(given.record, line)
        print(kind, seed, line["spurious"], named(line, "sweep"), line["seconds"], flush=True)
    lines = [line for line in read(given.record) if (line["kind"], line["seed"]) in set(wanted)]
    show("verdicts on modalities", table(lines))


if __name__ == "__main__":
    main()
