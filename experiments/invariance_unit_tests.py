"""The linear unit tests of invariance (Aubin et al. 2021, arXiv 2102.10867) with our penalties.

    python experiments/invariance_unit_tests.py                         # reduced, minutes
    python experiments/invariance_unit_tests.py --full                  # as published, many hours
    python experiments/invariance_unit_tests.py --environments 2,6,10   # IRMv1 on example 3
    python experiments/invariance_unit_tests.py --full --report         # what is done so far

Methods: ERM, IRMv1 (as published) and oracle (trained on a shuffled spurious block); irm, vrex and
group_dro are this project's penalties. All hyper-parameter draws of a data seed are one stack. Each
training is written to the record when it ends; the same command again does what is missing.

Exit codes: 0; 2 bad input; 130 interrupted, nothing lost.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.results import RESULTS
from benchmarks.support.timed import BenchmarkError, end_as_interrupt
from cmir.runner.provenance import provenance
from experiments.linear_examples import NAMES, Problem
from experiments.linear_methods import METHODS, ORACLE, draw_settings
from experiments.linear_record import FULL, REDUCED, Job, Line, Protocol, Record, jobs_of
from experiments.linear_rows import rows_of
from experiments.linear_table import (
    USUAL_ENVIRONMENTS,
    environment_rows,
    example_rows,
    markdown,
)
from experiments.linear_training import errors_by_environment, train

INTERRUPTED = 130


def perform(job: Job, protocol: Protocol, commit: str) -> Line:
    """Trains all draws of a job and scores them on validation and test."""
    problem = Problem(job.example, job.environments, job.data_seed)
    oracle = job.method == ORACLE
    draws = [draw_settings(number) for number in range(protocol.draws)]
    began = time.process_time()
    rows = rows_of(problem.draw("train", protocol.samples, oracle), problem.kind)
    weights = train(rows, METHODS[job.method], draws, protocol.iterations)
    seconds = time.process_time() - began
    validation = problem.draw("validation", protocol.samples, oracle)
    test = problem.draw("test", protocol.samples, shuffled=True)
    return Line(
        job,
        validation=errors_by_environment(weights, validation, problem.kind).tolist(),
        test=errors_by_environment(weights, test, problem.kind).tolist(),
        seconds=round(seconds, 2),
        commit=commit,
    )


def run(jobs: Sequence[Job], record: Record) -> None:
    """Performs the jobs that the record lacks and tells how much is done."""
    missing, commit = record.missing(jobs), _commit()
    for number, job in enumerate(missing, start=len(jobs) - len(missing) + 1):
        line = perform(job, record.protocol, commit)
        record.add(line)
        print(
            f"{number} of {len(jobs)}: example {job.example}, {job.environments} environments, "
            f"{job.method}, data seed {job.data_seed}: {line.seconds:.1f} CPU s",
            flush=True,
        )


def report(record: Record) -> None:
    """Prints the tables of what the record holds."""
    lines, protocol = record.lines(), record.protocol
    if not lines:
        print(f"{record.path} holds nothing yet")
        return
    print(
        f"protocol: {protocol.name}: {protocol.samples} samples an environment, "
        f"{protocol.iterations} steps, {protocol.draws} draws of hyper-parameters; "
        f"{protocol.data_seeds} data seeds would be all of it.\n"
        "Test error: squared error in example 1, share of wrong labels in 2 and 3; mean over "
        f"environments, mean ± standard deviation over data seeds.\n"
        f"{sum(line.seconds for line in lines) / 3600:.2f} CPU hours of training, commit "
        f"{', '.join(sorted({line.commit for line in lines}))}, record {record.path}"
    )
    usual = example_rows(lines)
    if usual:
        print(f"\n{USUAL_ENVIRONMENTS} environments\n\n{markdown(usual)}")
    if any(line.job.environments != USUAL_ENVIRONMENTS for line in lines):
        print(f"\nExample 3 by number of environments\n\n{markdown(environment_rows(lines))}")


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line, trains what is missing, prints the tables."""
    given = _parse(arguments)
    end_as_interrupt()
    torch.set_num_threads(given.threads)
    protocol = FULL if given.full else REDUCED
    record = Record(given.record or _record_path(given.full), protocol)
    jobs = jobs_of(
        given.examples, given.environments, given.methods, given.data_seeds or protocol.data_seeds
    )
    try:
        if not given.report:
            run(jobs, record)
        report(record)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on from {record.path}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="the published protocol")
    parser.add_argument("--examples", nargs="+", choices=NAMES)
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument("--environments", type=_numbers, help="numbers of them, as 2,6,10")
    parser.add_argument("--data-seeds", type=int, help="how many, in place of the protocol's")
    parser.add_argument("--record", type=Path, help="file, in place of benchmarks/results")
    parser.add_argument("--report", action="store_true", help="train nothing, show what is there")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    given = parser.parse_args(arguments)
    by_environments = given.environments is not None
    given.examples = given.examples or (["3"] if by_environments else list(NAMES))
    given.methods = given.methods or (["IRMv1"] if by_environments else list(METHODS))
    given.environments = given.environments or [USUAL_ENVIRONMENTS]
    return given


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"numbers with commas, as 2,6,10, not '{text}'") from None


def _record_path(full: bool) -> Path:
    return RESULTS / f"invariance-unit-tests-{'full' if full else 'reduced'}.jsonl"


def _commit() -> str:
    here = provenance()
    mark = "+changes" if here.get("git.dirty") == "true" else ""
    return here.get("git.commit", "unknown")[:10] + mark


if __name__ == "__main__":
    sys.exit(main())
