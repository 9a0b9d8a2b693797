"""Promotes the best of a sweep, or refuses with reasons: `python workflows/promote.py`.

Selects by a rule, trains the best again with fresh seeds, judges them against the ERM baseline and
the champion, evaluates once on held-out data (a test-set access), registers the winner.

--list, --compare A B and --rollback look at what is registered instead, and take it back.

Exit codes: 0 done, or a dry run that would be; 2 bad input; 3 refused; 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cmir.cli import (
    add_artifacts,
    add_loudness,
    add_placement,
    console_of,
    positive,
    print_error,
    print_object,
)
from cmir.errors import InputError
from cmir.process import interruption
from cmir.process.cluster_address import check_address
from cmir.promotion.promotion import PromotionOutcome, promote, trainings_of
from cmir.promotion.promotion_plan import CHAMPION, PromotionPlan, PromotionRequest, plan_promotion
from cmir.promotion.registering import LOCK
from cmir.promotion.report.promotion_report import (
    GATE_COLUMNS,
    candidate_columns,
    candidate_rows,
    heldout_rows,
    verdict_rows,
)
from cmir.promotion.report.version_tables import (
    COMPARISON_COLUMNS,
    HISTORY_COLUMNS,
    VERSION_COLUMNS,
    compare_versions,
    comparison_rows,
    history_rows,
    version_rows,
)
from cmir.promotion.selection import RULES
from cmir.registry.alias_history import roll_back
from cmir.registry.versions import known_model, loading, model_names
from cmir.runner.display import RunDisplay
from cmir.runner.paths import Paths
from cmir.runner.runner import RunStart
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress as RunProgress
from cmir.runner.tracking.sweep_tracker import answering, connect

REFUSED = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, promotes, prints what came of it; returns the exit code."""
    given = _parse(arguments)
    console = console_of(given, 140)
    try:
        if given.list or given.compare or given.rollback:
            return _look(console, given)
        check_address(given.address)
        request = _request(given)
        plan = plan_promotion(request, Paths(artifacts=given.artifacts))
        client = connect()
        _announce(console, plan)
        with Watch(console, 2 if request.dry_run else 4) as watch, answering(client):
            trainings = trainings_of(
                plan,
                Placement(given.concurrency, given.trials_per_gpu, given.address),
                request.storage,
                watch.display,
                log=not request.dry_run,
            )
            outcome = promote(plan, request, client, trainings, watch.on_step)
    except InputError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        interruption.THIS.say()
        return interruption.INTERRUPTED
    code = _report(console, outcome, request)
    if given.json:
        print_object(_as_json(outcome))
    return code


class Watch:
    """A line for each step of a promotion, with its number.

    While it trains with the time left, else with the time that the step has taken.
    """

    def __init__(self, console: Console, steps: int) -> None:
        self._console, self._steps, self._step = console, steps, 0
        self._status = _clock(console)
        self._display: RunDisplay | None = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *exception: object) -> None:
        self._status.stop()
        if self._display is not None:
            self._display.__exit__()

    def on_step(self, what: str) -> None:
        """Told of what is done next."""
        self._step += 1
        self.__exit__()
        self._console.print(f"step {self._step} of {self._steps}: {what}", highlight=False)
        if self._console.is_terminal:
            self._status = _clock(self._console)
            self._status.add_task(what, total=None)
            self._status.start()

    def display(self, start: RunStart) -> RunProgress:
        """Shows trainings; nothing where all were trained before."""
        self.__exit__()
        if start.done == start.total:
            return RunProgress()
        self._display = RunDisplay(self._console, start).__enter__()
        return self._display.progress()


def _clock(console: Console) -> Progress:
    """What runs, and since when."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    rules = "\n".join(f"{name}: {rule.__doc__}" for name, rule in RULES.items())
    parser.add_argument("--sweep", help="name of the sweep (default: the latest one here)")
    parser.add_argument(
        "--rule",
        default="",
        help="rule that selects the trials (default: ood_val; of a pair of objectives "
        f"within_error, of cv/<metric> cv)\n{rules}",
    )
    parser.add_argument(
        "--top", type=positive, default=3, help="candidates, the best trials (default: 3)"
    )
    parser.add_argument(
        "--seeds", type=positive, default=5, help="fresh seeds per candidate (default: 5)"
    )
    parser.add_argument(
        "--alias",
        default=CHAMPION,
        help="alias of the new version (default: champion)\n"
        "candidate: registers after the gates without a test-set access",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="judge only: no test-set access, register nothing"
    )
    parser.add_argument("--storage", help="Optuna storage URL (default: a journal file)")
    add_artifacts(parser)
    add_placement(parser, "trainings")
    add_loudness(parser)
    parser.add_argument("--force", action="store_true", help="register in spite of failed gates")
    parser.add_argument(
        "--why", default="", help="reason for --force or --rollback, recorded (default: none)"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--list", action="store_true", help="show the versions and the history of the aliases"
    )
    shown.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="compare two versions or aliases on validation data",
    )
    shown.add_argument(
        "--rollback", action="store_true", help="give the alias back to the version before"
    )
    parser.add_argument(
        "--model", help="for --list, --compare, --rollback (default: all, else the only one)"
    )
    parser.add_argument(
        "--data", type=Path, help="dataset folder for --compare (default: the recorded one)"
    )
    return parser.parse_args(arguments)


def _request(given: argparse.Namespace) -> PromotionRequest:
    if given.force and not given.why.strip():
        raise InputError("--force must come with --why TEXT, which the version will carry.")
    if given.why and not given.force:
        raise InputError("--why belongs to --force or --rollback: give one of them.")
    names = [field.name for field in fields(PromotionRequest)]
    return PromotionRequest(**{name: getattr(given, name) for name in names})


def _as_json(outcome: PromotionOutcome) -> dict[str, Any]:
    """What a script asks of a promotion."""
    winner = outcome.winner
    return {
        "status": outcome.status,
        "model": outcome.plan.model_name,
        "version": outcome.version,
        "trial": None if winner is None else winner.record.number,
        "failed_gates": [one.name for one in outcome.verdicts if not one.passed],
        "heldout": dict(outcome.heldout),
    }


def _announce(console: Console, plan: PromotionPlan) -> None:
    if plan.is_synthetic:
        text = (
            "The sweep ran on the built-in synthetic stand-in.\n"
            f"The model is named '{plan.model_name}' and says nothing about real data."
        )
        console.print(Panel(text, title="SYNTHETIC DATA", style="yellow"))
    numbers = ", ".join(str(record.number) for record in plan.shortlist) or "none"
    console.print(
        f"sweep [bold]{plan.sweep}[/bold] over {plan.data.name}: {plan.finished} finished trials; "
        f"rule {plan.rule} ({', '.join(plan.ranking.metrics)}) takes trials {numbers}",
        highlight=False,
    )


def _report(console: Console, outcome: PromotionOutcome, request: PromotionRequest) -> int:
    plan = outcome.plan
    if outcome.candidates:
        rows = candidate_rows(plan, outcome.candidates)
        console.print(_table("candidates, trained again", candidate_columns(plan), rows))
    gates = verdict_rows(outcome.verdicts)
    console.print(_table("gates, on development data", GATE_COLUMNS, gates))
    if outcome.status == "refused":
        return _report_refusal(console, outcome)
    assert outcome.winner is not None
    if outcome.status == "dry run":
        console.print(
            f"dry run: {outcome.winner.title} passes. Without --dry-run its held-out "
            f"scores would be read now and it would become {plan.model_name}@{request.alias}.",
            highlight=False,
        )
        return 0
    _report_version(console, outcome, request)
    return 0


def _report_refusal(console: Console, outcome: PromotionOutcome) -> int:
    for verdict in outcome.verdicts:
        if not verdict.passed:
            console.print(
                f"[bold]refused[/bold]: {verdict.name}: required {verdict.required}, "
                f"measured {verdict.measured}",
                highlight=False,
                soft_wrap=True,
            )
    if outcome.may_be_candidate:
        console.print("It is better on average: with --alias candidate it can be registered.")
    if outcome.version is not None:
        console.print(
            f"Held-out data was read, and version {outcome.version} is there without the alias.",
            highlight=False,
        )
    else:
        console.print("Nothing was registered; held-out data was not read.")
    return REFUSED


def _report_version(console: Console, outcome: PromotionOutcome, request: PromotionRequest) -> None:
    if outcome.heldout:
        head = ["metric", "mean over seeds", "std", "averaged prediction (served)"]
        before = outcome.accesses - 1
        title = f"held-out scores of the winner (test-set accesses before: {before})"
        console.print(_table(title, head, heldout_rows(outcome.heldout)))
        tally = outcome.findings.tally
        if tally is not None and tally.warning:
            console.print(f"[bold]beware[/bold]: {tally.warning}", highlight=False)
    elif request.is_candidate:
        console.print("A candidate: held-out data was not read.")
    else:
        console.print("The data set has no held-out split: no unbiased score is known.")
    name = outcome.plan.model_name
    if outcome.winner is not None and outcome.winner.baseline:
        console.print(
            f"No candidate is better than the baseline: registered is {outcome.winner.baseline}.",
            highlight=False,
        )
    console.print(
        f"registered [bold]{name}[/bold] version {outcome.version}, alias {request.alias}",
        highlight=False,
    )
    console.print(
        f"load:  {loading(f'models:/{name}@{request.alias}')}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _look(console: Console, given: argparse.Namespace) -> int:
    """--list, --compare and --rollback."""
    client = connect()
    if given.list:
        names = [known_model(client, given.model)] if given.model else model_names(client)
        for name in names:
            console.print(_table(name, VERSION_COLUMNS, version_rows(client, name)))
            console.print(_table("history", HISTORY_COLUMNS, history_rows(client, name)))
        if not names:
            console.print("Nothing is registered yet.")
        return 0
    model = known_model(client, given.model)
    if given.compare:
        found = compare_versions(client, model, given.compare, given.data)
        title = f"{model}: A = version {found.a.number}, B = version {found.b.number}, paired"
        console.print(_table(title, COMPARISON_COLUMNS, comparison_rows(found)))
        return 0
    paths = Paths()
    paths.make()
    with paths.waiting_lock(LOCK):
        move = roll_back(client, model, given.alias, given.why or "no reason given")
    console.print(
        f"{model}: {move.alias} is version {move.version} again, no longer version {move.before}",
        highlight=False,
    )
    return 0


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in head:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table
