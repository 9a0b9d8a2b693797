"""What a sweep that was ended has kept: its study as it can be opened, and its runs in MLflow."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient

from cmir.runner.paths import Paths
from cmir.runner.studies.records import TrialRecord
from cmir.runner.studies.storage import journal_storage
from cmir.runner.studies.study import counts, records_of


@dataclass(frozen=True)
class Kept:
    """The ended trials of a study.

    Attributes:
        endings: number to the whole ending, as text.
        counted: how many count against the budget.
        repeated: how many train what another one has trained, though that has not failed.
    """

    endings: Mapping[int, str] = field(default_factory=dict)
    counted: int = 0
    repeated: int = 0


def kept_study(folder: Path, name: str) -> Kept | None:
    """What a study holds; None where it cannot be opened."""
    journal = Paths(folder).journal(name)
    if not journal.exists():
        return Kept()
    try:
        records = records_of(journal_storage(journal), name)
    except KeyError:
        # Killed between the journal's first byte and the study's first entry.
        return Kept()
    except Exception as error:  # Whatever it is, it is what the campaign looks for.
        print(f"{journal}: {type(error).__name__}: {error}", flush=True)
        return None
    texts = {record.number: json.dumps(record.ending.as_json(), default=dict) for record in records}
    return Kept(texts, sum(map(counts, records)), _repeated(records))


def _repeated(records: list[TrialRecord]) -> int:
    """Trials with the parameters of another; a failure's second try is none."""
    first = Counter(json.dumps(dict(one.params)) for one in records if one.retry_of is None)
    return sum(times - 1 for times in first.values())


def mismatches(folder: Path, name: str, kept: Kept, budget: int) -> int:
    """In how many points a complete sweep and its runs in MLflow differ."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return len(kept.endings)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    children = [run for run in runs if "trial" in run.data.tags]
    trials = Counter(int(run.data.tags["trial"]) for run in children)
    wrong: int = sum(trials[number] != 1 for number in kept.endings)
    wrong += sum(number not in kept.endings for number in trials)
    wrong += int(len(runs) - len(children) != 1)
    wrong += sum(run.info.status == "RUNNING" for run in runs)
    wrong += _doubled(folder / "mlflow.db")
    return wrong + int(kept.counted != budget)


def _doubled(database: Path) -> int:
    """How many epochs of a run's curve have more than one point, in runs that are shown."""
    query = (
        "SELECT count(*) FROM (SELECT 1 FROM metrics JOIN runs USING (run_uuid) "
        "WHERE lifecycle_stage = 'active' GROUP BY run_uuid, key, step HAVING count(*) > 1)"
    )
    with closing(sqlite3.connect(database)) as opened:
        return int(opened.execute(query).fetchone()[0])
