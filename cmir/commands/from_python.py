"""The commands as functions: `cmir.sweep(...)`, `cmir.promote(...)`, `cmir.load(...)`.

Each does what the command of its name does, in the current folder, and returns values in place of a
printed table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from cmir.config import TrialConfig
from cmir.errors import InputError
from cmir.promotion.promotion import PromotionOutcome, trainings_of
from cmir.promotion.promotion import promote as promote_plan
from cmir.promotion.promotion_plan import CHAMPION, PromotionRequest, plan_promotion
from cmir.promotion.selection import best_first
from cmir.registry.versions import ensemble_of_version, known_model, version
from cmir.runner.display import Displays
from cmir.runner.paths import Paths
from cmir.runner.scheduling.placement import Placement
from cmir.runner.tracking.sweep_tracker import answering, connect
from cmir.serving.label_comparison import scores_by_split
from cmir.serving.predictor import Ensemble
from cmir.serving.score_files import score_source
from cmir.space.shipped_spaces import space_path
from cmir.sweep.run_sweep import SweepOutcome, SweepRequest, run_sweep


@dataclass(frozen=True, eq=False)
class Sweep:
    """A sweep that has run.

    Attributes:
        name: of the sweep.
        leaderboard: its trials, the best first.
        schemes: environment schemes beside each other.
        best: the best trial's configuration, None where none finished.
        outcome: everything else.
    """

    name: str
    leaderboard: pl.DataFrame
    schemes: pl.DataFrame
    best: TrialConfig | None
    outcome: SweepOutcome


def sweep(
    space: str | Path,
    *,
    trials: int | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    fresh: bool = False,
    storage: str | None = None,
    artifacts: str | None = None,
    concurrency: int | None = None,
    trials_per_gpu: int = 4,
    address: str | None = None,
    quiet: bool = False,
) -> Sweep:
    """Runs or continues a sweep, as `cmir sweep` does.

    Args:
        space: a sweep file, or the name of one that ships.
        trials: the file's where None; likewise
        seeds: and
        epochs: of a trial at most.
        fresh: begin a new sweep beside the old one.
        storage: Optuna storage URL; None: a journal file.
        artifacts: URL or shared folder where the best weights are kept as well; None: nowhere.
        concurrency: trials at a time; None: as many as there is room for.
        trials_per_gpu: that share a GPU.
        address: of a Ray cluster; None: this machine.
        quiet: show no progress.

    Raises:
        InputError: a faulty file or data; nothing was started.
        KeyboardInterrupt: what ended is kept; the same call continues.
    """
    chosen = {"trials": trials, "seeds": seeds, "epochs": epochs}
    overrides = {name: value for name, value in chosen.items() if value is not None}
    placement = Placement(concurrency, trials_per_gpu, address)
    request = SweepRequest(
        space=space_path(Path(space)),
        overrides=overrides,
        placement=placement,
        fresh=fresh,
        storage=storage,
    )
    with Displays(Console(quiet=quiet)) as shown:
        outcome = run_sweep(
            request, Paths(artifacts=artifacts), lambda start: shown.show(start.run)
        )
    records = outcome.records
    ranked = best_first(records, str(records[0].config.objective)) if records else []
    best = ranked[0].config if ranked else None
    findings = outcome.findings
    return Sweep(outcome.sweep, findings.table, findings.schemes, best, outcome)


def promote(
    sweep: str | None = None,
    *,
    rule: str = "",
    top: int = 3,
    seeds: int = 5,
    alias: str = CHAMPION,
    dry_run: bool = False,
    storage: str | None = None,
    artifacts: str | None = None,
    force: bool = False,
    why: str = "",
    concurrency: int | None = None,
    quiet: bool = False,
) -> PromotionOutcome:
    """Judges the best trials of a sweep and registers the winner, as `cmir promote` does.

    The arguments are those of `PromotionRequest`; `concurrency` is of its trainings, and
    so is `artifacts`, a URL or shared folder where their weights are kept as well.

    Raises:
        InputError: there is no such sweep, or its data has changed.
        KeyboardInterrupt: what was trained is kept; the same call continues.
    """
    if force and not why:
        raise InputError("force: needs a reason, which the version carries: give why.")
    request = PromotionRequest(sweep, rule, top, seeds, alias, dry_run, storage, force, why)
    plan, client = plan_promotion(request, Paths(artifacts=artifacts)), connect()
    with Displays(Console(quiet=quiet)) as shown, answering(client):
        placement = Placement(concurrency)
        trainings = trainings_of(plan, placement, storage, shown.show, log=not dry_run)
        return promote_plan(plan, request, client, trainings)


@dataclass(frozen=True, eq=False)
class Model:
    """A registered version, ready to predict.

    Attributes:
        name: of the registered model, with the version.
        ensemble: its seeds.
    """

    name: str
    ensemble: Ensemble

    def predict(self, data: Any, distances: bool = False) -> pl.DataFrame:
        """A row for each sample: see `Ensemble.predict`."""
        return pl.DataFrame(self.ensemble.predict(data, distances))

    def score(self, source: str | Path, split: str | None = None) -> pl.DataFrame:
        """Predictions for a data set folder, an .npz or a .json file, as by `cmir predict`.

        With labels these and the errors stand beside; held-out splits are scored only where `split`
        names one, and their labels are not read.
        """
        return score_source(self.ensemble, Path(source), split)

    def metrics(self, scored: pl.DataFrame) -> pl.DataFrame:
        """The metrics of each split of what `score` gave: a row for each, a column for a split."""
        return scores_by_split(scored, self.ensemble.card.task)


def load(name: str | None = None, version_or_alias: str = CHAMPION) -> Model:
    """A registered version.

    Args:
        name: of the registered model; None: the only one.
        version_or_alias: number or alias.

    Raises:
        InputError: there is none.
    """
    client = connect()
    with answering(client):
        one = version(client, known_model(client, name), version_or_alias)
        return Model(str(one), ensemble_of_version(one))
