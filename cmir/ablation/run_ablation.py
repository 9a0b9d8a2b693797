"""Runs or continues an ablation: tunes plain training, trains what is missing, compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import yaml
from mlflow import MlflowClient

from cmir.ablation.ablation_plan import AblationPlan, AblationRequest
from cmir.ablation.ablation_report import description
from cmir.ablation.ablation_runs import publish
from cmir.ablation.ablation_table import ablation_table, scored
from cmir.ablation.arm import Arm, distinct
from cmir.ablation.arm_heldout_scores import Reading, read_arms
from cmir.ablation.arm_scores import Yardstick, measured
from cmir.ablation.arm_store import ArmEnding, ArmStore, mixed_code
from cmir.ablation.arm_training import VALIDATION, ArmTask, train_arm
from cmir.ablation.arms import arms
from cmir.ablation.forest_plot import forest
from cmir.ablation.matched_baseline import tuning_file, untuned_plain
from cmir.config import TrialConfig
from cmir.errors import InputError
from cmir.promotion.selection import best_first
from cmir.registry.heldout_access import heldout_splits
from cmir.registry.model_registry import Registry
from cmir.runner.paths import Places, control_name
from cmir.runner.provenance import provenance
from cmir.runner.tasks import Ended, run_tasks, task_resources
from cmir.runner.trials_in_flight import Progress
from cmir.sweep.run_sweep import SweepRequest, SweepStart, conduct

Work = Callable[[ArmTask, str], ArmEnding]


@dataclass(frozen=True)
class Watch:
    """Told of what happens.

    Attributes:
        on_tuning: the tuning of plain training starts; returns the hooks of its progress.
        on_arms: all arms, and the fingerprints of those that are still to be trained.
        on_end: an arm has ended.
        on_tick: about twice a second, how many arms are in training.
    """

    on_tuning: Callable[[SweepStart], Progress] = lambda start: Progress()
    on_arms: Callable[[Sequence[Arm], Sequence[str]], None] = lambda rows, missing: None
    on_end: Callable[[Arm, ArmEnding], None] = lambda arm, ending: None
    on_tick: Callable[[int], None] = lambda running: None


@dataclass(frozen=True, eq=False)
class AblationOutcome:
    """What an ablation ended with.

    Attributes:
        table: on validation data, see `ablation_table`.
        heldout: the same on the held-out splits, where they were asked for.
        reading: of the held-out splits.
        files: the picture, the text and the tables.
        caveat: what speaks against comparing the arms, empty if nothing does.
        trouble: why MLflow lacks something, empty if it has all.
    """

    table: pl.DataFrame
    heldout: pl.DataFrame | None
    reading: Reading | None
    files: Sequence[Path]
    caveat: str
    trouble: str


def folder_of(plan: AblationPlan, places: Places) -> Path:
    """Where everything about an ablation is kept."""
    return places.ablation(plan.name)


def ablate(
    plan: AblationPlan,
    request: AblationRequest,
    places: Places,
    client: MlflowClient,
    watch: Watch,
    work: Work = train_arm,
) -> AblationOutcome:
    """Runs what is missing of an ablation and shows all of it.

    Args:
        plan: from `plan_ablation`.
        request: what was asked for.
        places: where files are.
        client: of the tracking store.
        watch: told of what happens.
        work: trains one arm in a worker.

    Raises:
        InputError: another process runs this ablation, or there are no held-out splits to read.
        KeyboardInterrupt: what ended is kept; the same call continues.
    """
    if request.final and not heldout_splits(plan.dataset):
        raise InputError(
            f"--final: the data set '{plan.data.name}' has no held-out split. Leave --final out, "
            "or make one with `prepare.py --shift`."
        )
    places.make()
    with places.lock(f"{plan.name}.ablation"):
        folder = folder_of(plan, places)
        store = ArmStore(folder.resolve(), plan.data.checksum)
        tuned, note = None, ""
        if "plain" in plan.families:
            tuned, note = tune_plain(plan, request, places, watch)
        rows = arms(plan.full, plan.data, tuned, note, plan.families)
        endings = train_missing(rows, plan, request, store, places, watch, work)
        return _conclude(plan, request, rows, endings, store, client, places)


def tune_plain(
    plan: AblationPlan, request: AblationRequest, places: Places, watch: Watch
) -> tuple[TrialConfig | None, str]:
    """Plain training of the full's size after a sweep of its own, and how it was tuned.

    The sweep is named after what it asks, so that the same ablation continues it. None where the
    space searches nothing that plain training has, or no trial finished.
    """
    plain, _ = untuned_plain(plan.full, plan.data)
    file = tuning_file(plan.file, plan.full, plain, str(plan.data.path))
    if not file.search:
        return None, ""
    name = control_name(plan.space_name, file.fingerprint)
    path = folder_of(plan, places) / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**file.model_dump(mode="json"), "name": name}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    sweep = SweepRequest(path, {"trials": plan.budget}, concurrency=request.concurrency)
    outcome = conduct(sweep, places, watch.on_tuning)
    if not outcome.is_complete:
        raise KeyboardInterrupt
    ranked = best_first(outcome.records, file.objective)
    if not ranked:
        return None, ""
    return ranked[0].trial(plan.full.seeds), f"best of {outcome.counted} trials ({name})"


def train_missing(
    rows: Sequence[Arm],
    plan: AblationPlan,
    request: AblationRequest,
    store: ArmStore,
    places: Places,
    watch: Watch,
    work: Work = train_arm,
) -> dict[str, ArmEnding]:
    """Trains the arms that are not kept yet; returns how all ended, by fingerprint."""
    wanted = distinct(rows)
    kept = {name: store.ending(name) for name in wanted}
    endings = {name: ending for name, ending in kept.items() if ending is not None}
    missing = [name for name in wanted if name not in endings]
    shared = (str(plan.data.path), str(places.partitions.resolve()), store, provenance())
    plugins = tuple(plan.file.plugins)
    tasks = {
        name: ArmTask(wanted[name].config.model_dump_json(), *shared, plugins) for name in missing
    }

    def on_end(name: str, ended: Ended[ArmEnding]) -> None:
        endings[name] = ended.result or ArmEnding("failed", ended.fault)
        watch.on_end(wanted[name], endings[name])

    watch.on_arms(rows, missing)
    run_tasks(work, tasks, task_resources(request.concurrency), on_end, watch.on_tick)
    return endings


def _conclude(
    plan: AblationPlan,
    request: AblationRequest,
    rows: Sequence[Arm],
    endings: Mapping[str, ArmEnding],
    store: ArmStore,
    client: MlflowClient,
    places: Places,
) -> AblationOutcome:
    wanted, full = distinct(rows), rows[0].fingerprint
    validation = {name: plan.data.splits[name] for name in VALIDATION}
    yardstick = Yardstick(plan.metric, validation, plan.data.task, plan.data.label_range)
    columns = scored(wanted, endings, store, yardstick, full)
    table = ablation_table(rows, endings, columns, measured(plan.metric, VALIDATION))
    reading = heldout = None
    if request.final:
        registry = Registry(client, plan.model_name)
        reading = read_arms(plan, wanted, endings, store, full, registry, places)
        keys = measured(plan.metric, reading.splits)
        heldout = ablation_table(rows, endings, reading.columns, keys)
    caveat = mixed_code(endings[name] for name in wanted)
    text = "\n\n".join(filter(None, (caveat, description(plan, table, heldout, reading))))
    files = _write(store.folder, plan, table, heldout, text)
    trouble = publish(client, plan, rows, endings, (table, heldout), files, text)
    return AblationOutcome(table, heldout, reading, files, caveat, trouble)


def _write(
    folder: Path, plan: AblationPlan, table: pl.DataFrame, heldout: pl.DataFrame | None, text: str
) -> list[Path]:
    """The tables, the picture and the text as files."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"ablation": table} | ({} if heldout is None else {"heldout": heldout})
    files = [folder / "forest.png", folder / "ablation.md"]
    forest(table, plan.metric, plan.name).savefig(files[0])
    files[1].write_text(text, encoding="utf-8")
    for name, frame in tables.items():
        frame.write_csv(folder / f"{name}.csv")
        frame.write_parquet(folder / f"{name}.parquet")
        files += [folder / f"{name}.csv", folder / f"{name}.parquet"]
    return files
