"""The step benchmark counts the products that training computes, and times training itself."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import step
from benchmarks.products import Bench, Product, operations, products_of
from benchmarks.support.measuring import free_memory
from benchmarks.support.step_cases import Case, larger
from benchmarks.support.timed import ROOT, BenchmarkError
from benchmarks.support.training_core import WARM_UP, Training, memory, shortened
from cmir.data import DevelopmentData
from cmir.method.networks.sized_network import network_for

CPU = torch.device("cpu")
SMALL = Case(2, 2, 6, 4, 8, "noise", 3, "all", "full")
SIZES = ["--representation", "6", "--hidden", "4", "--batch", "8", "--samples", "48"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    return step.write_data(tmp_path_factory.mktemp("step") / "data", 48)


@pytest.mark.parametrize(
    "case",
    [
        SMALL,
        replace(SMALL, prediction_views="clean"),
        replace(SMALL, view="erase", views=2),
        replace(SMALL, view="erase", prediction_views="clean"),
        replace(SMALL, view="swap"),
        replace(SMALL, view="swap", prediction_views="clean"),
        replace(SMALL, view="none", views=0, prediction_views="clean"),
    ],
    ids=lambda case: f"{case.view}-{case.prediction_views}",
)
def test_the_products_are_those_that_a_step_computes(case: Case, data: DevelopmentData) -> None:
    """Epochs of six and of two steps differ by four steps, whatever evaluation computes."""
    trials = case.trials()
    counted = []
    for samples in (48, 16):
        training = Training(shortened(data, samples), trials, CPU, epochs=2)
        with FlopCounterMode(display=False) as counter:
            training.epoch()
        counted.append(counter.get_total_flops())
    network = network_for(data, trials[0].model)
    products = products_of(network, trials[0], case.replicas, case.batch)
    assert counted[0] - counted[1] == 4 * (operations(products) + exchange(case))


def exchange(case: Case) -> int:
    """Operations of swapping by a 0/1 matrix, both ways: no product that a step needs."""
    if case.view != "swap":
        return 0
    size, hidden, each = case.representation_size, case.hidden_size, 3 * case.replicas
    width = size + hidden * (case.prediction_views == "all")
    return 2 * each * 2 * case.views * case.batch**2 * width


def test_the_bench_computes_a_product_and_both_gradients() -> None:
    bench = Bench([Product(2, 3, 4, 5), Product(2, 3, 4, 5, needs_input_gradient=False)], CPU)
    with FlopCounterMode(display=False) as counter:
        bench.run()
    assert counter.get_total_flops() == 5 * 2 * (2 * 3 * 4 * 5)
    assert counter.get_total_flops() == operations(bench.products)
    (left, right, slope), (forward, by_left, by_right) = bench.operands[0], bench.results[0]
    torch.testing.assert_close(forward, left @ right)
    torch.testing.assert_close(by_left, slope @ right.mT)
    torch.testing.assert_close(by_right, left.mT @ slope)


def test_a_case_is_one_stack_whose_configurations_differ(data: DevelopmentData) -> None:
    trials = replace(SMALL, configurations=3).trials()
    assert len({trial.fingerprint for trial in trials}) == 3
    assert all(trial.structure == trials[0].structure for trial in trials)
    assert all(trial.environments.views == 3 for trial in trials)


def test_cases_grow_from_one_replica_by_doubling_the_configurations() -> None:
    sizes = [(case.configurations, case.seeds) for case in larger(replace(SMALL, seeds=3), 24)]
    assert sizes == [(1, 1), (1, 3), (2, 3), (4, 3), (8, 3)]
    assert [case.replicas for case in larger(replace(SMALL, seeds=1), 4)] == [1, 2, 4]


@pytest.mark.parametrize(
    ("limit", "free", "largest"), [(8, None, 8), (99, 800, 8), (99, 799, 4), (99, None, 16)]
)
def test_growing_stops_at_a_full_memory(limit: int, free: int | None, largest: int) -> None:
    def measured(case: Case) -> dict[str, Any]:
        if case.replicas > limit:
            raise torch.OutOfMemoryError
        return {"replicas": case.replicas, "peak_bytes": 100 * case.replicas}

    rows = step.growing(larger(SMALL, 16), measured, lambda: free)
    assert rows[-1]["replicas"] == largest


def test_the_ratio_needs_both_sizes() -> None:
    rows = [{"replicas": count, "step_seconds": 1.0 + count} for count in (1, 3, 24)]
    assert step.ratio(rows) == 12.5
    assert step.ratio(rows[1:]) is None


def test_a_training_has_epochs_of_one_size_and_ends_with_its_results(data: DevelopmentData) -> None:
    training = Training(data, SMALL.trials(), CPU, epochs=1)
    assert training.steps == 6
    assert training.epoch() > 0
    with pytest.raises(BenchmarkError, match="a configuration diverged"):
        training.epoch()


def test_a_diverged_configuration_is_no_measurement(data: DevelopmentData) -> None:
    (trial,) = replace(SMALL, configurations=1).trials()
    fast = trial.training.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(BenchmarkError, match="diverged"):
        Training(data, [trial.model_copy(update={"training": fast})], CPU, epochs=9 * WARM_UP)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_that_of_the_block() -> None:
    with memory(CPU) as large:
        torch.ones(16 << 20).sum()
    with memory(CPU) as small:
        torch.ones(1 << 20).sum()
    assert 60e6 < large.peak < 80e6
    assert small.peak < 20e6
    free = free_memory(CPU)
    assert free is not None
    assert free > large.peak


def test_too_few_samples_for_a_batch_are_told(data: DevelopmentData) -> None:
    with pytest.raises(BenchmarkError, match="needs 64 training samples, but there are 48"):
        step.measure(replace(SMALL, batch=16), data, CPU, 1)


def test_the_command_combines_sizes_and_keeps_its_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "step.parquet"
    cases = ["--configurations", "2", "1", "--seeds", "2", "--view", "none", "swap", "--count", "2"]
    assert step.main([*SIZES, *cases, "--repeat", "1", "--out", str(out)]) == 0
    rows = pl.read_parquet(out)
    assert rows["replicas"].to_list() == [4, 2, 4, 2]
    assert rows["views"].to_list() == [0, 0, 2, 2]
    assert {"share", "configurations_per_hour", "peak_bytes", "version.torch"} <= {*rows.columns}
    assert (rows["products_seconds"] > 0).all()
    assert "share of the limit" in capsys.readouterr().out


def test_the_command_grows_the_stack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grown = ["--replicas", "auto", "--most", "24", "--repeat", "1", "--view", "swap"]
    out = tmp_path / "step.parquet"
    assert step.main([*SIZES, *grown, "--count", "1", "--out", str(out)]) == 0
    assert pl.read_parquet(out)["replicas"].to_list() == [1, 3, 6, 12, 24]
    assert "24 replicas take" in capsys.readouterr().out


def test_the_step_is_timed_without_ray_optuna_and_mlflow() -> None:
    script = (
        "import sys, benchmarks.step; "
        "print([name for name in ('ray', 'optuna', 'mlflow') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
