"""The linear unit tests: their data, methods, training, record and selection."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.support.timed import BenchmarkError
from experiments import invariance_unit_tests
from experiments.invariance_unit_tests import main, perform, run
from experiments.linear_examples import FEATURES, INVARIANT, NAMES, Problem, Sample
from experiments.linear_methods import METHODS, Draw, draw_settings
from experiments.linear_record import FULL, Job, Line, Protocol, Record, jobs_of
from experiments.linear_rows import Rows, rows_of
from experiments.linear_table import environment_rows, example_rows, markdown, select
from experiments.linear_training import StackedAdam, errors_by_environment, start_weights, train

MANY = 20_000
TINY = Protocol("tiny", samples=40, iterations=3, draws=3, data_seeds=2)


def training_rows(example: str, samples: int, environments: int = 3) -> Rows:
    problem = Problem(example, environments, data_seed=0)
    return rows_of(problem.draw("train", samples, shuffled=False), problem.kind)


def least_squares(inputs: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    weights = torch.linalg.lstsq(inputs, labels[:, None]).solution[:, 0]
    return weights, (labels - inputs @ weights).var().item()


def test_example_1_has_one_cause_in_all_environments_and_noise_of_each() -> None:
    sample = Problem("1", 3, data_seed=3).draw("train", MANY, shuffled=False)
    found = []
    for spread, inputs, labels in zip([0.1, 1.5, 2.0], sample.inputs, sample.labels, strict=True):
        assert inputs[:, :INVARIANT].std().item() == pytest.approx(spread, rel=0.03)
        weights, left = least_squares(inputs[:, :INVARIANT], labels)
        assert left == pytest.approx(INVARIANT * spread**2, rel=0.05)
        found.append(weights)
    torch.testing.assert_close(found[0], found[1], atol=0.08, rtol=0)
    torch.testing.assert_close(found[1], found[2], atol=0.08, rtol=0)


def test_example_1_tempts_with_effects_of_the_label() -> None:
    sample = Problem("1", 3, data_seed=3).draw("train", MANY, shuffled=False)
    _, causes = least_squares(sample.inputs[2, :, :INVARIANT], sample.labels[2])
    _, all_features = least_squares(sample.inputs[2], sample.labels[2])
    assert all_features < 0.8 * causes


def test_example_2_has_the_published_shares_and_a_faint_animal() -> None:
    sample = Problem("2", 3, data_seed=1).draw("train", MANY, shuffled=False)
    known = zip([0.95, 0.97, 0.99], [0.3, 0.5, 0.7], sample.inputs, sample.labels, strict=True)
    for usual, cows, inputs, labels in known:
        animal, ground = inputs[:, :INVARIANT], inputs[:, INVARIANT:]
        assert torch.equal(labels, (animal.sum(1) > 0).float())
        assert labels.mean().item() == pytest.approx(cows, abs=0.02)
        on_usual = (ground.sum(1) > 0) == (labels > 0)
        assert on_usual.float().mean().item() == pytest.approx(usual, abs=0.01)
        assert animal[labels > 0].mean().item() == pytest.approx(0.01, rel=0.02)
        assert animal[labels > 0].std().item() == pytest.approx(0.01 / math.sqrt(10), rel=0.02)
        assert ground.square().mean().item() == pytest.approx(1.1, rel=0.02)


def test_example_3_has_a_margin_shared_by_all_and_one_of_each_environment() -> None:
    sample = Problem("3", 3, data_seed=2).draw("train", MANY, shuffled=False)
    shortcuts = []
    for inputs, labels in zip(sample.inputs, sample.labels, strict=True):
        assert labels.mean() == 0.5
        first, second = inputs[labels == 0], inputs[labels == 1]
        torch.testing.assert_close(first.mean(0), -second.mean(0), atol=0.01, rtol=0)
        torch.testing.assert_close(
            first[:, :INVARIANT].mean(0), torch.full((5,), 0.1), atol=0.01, rtol=0
        )
        torch.testing.assert_close(first.std(0), torch.full((10,), 0.1), atol=0.005, rtol=0)
        shortcuts.append(first[:, INVARIANT:].mean(0))
    assert torch.stack(shortcuts).std(0).min() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_more_environments_keep_the_first_ones_where_they_have_published_numbers(name: str) -> None:
    few = Problem(name, 3, data_seed=0).draw("test", MANY, shuffled=False)
    many = Problem(name, 6, data_seed=0).draw("test", MANY, shuffled=False)
    assert many.inputs.shape == (6, MANY, FEATURES)
    assert many.labels.shape == (6, MANY)
    if not name.startswith("3"):
        torch.testing.assert_close(few.labels.std(1), many.labels[:3].std(1), rtol=0.2, atol=0.02)


@pytest.mark.parametrize("name", ["1", "2", "3"])
def test_a_scrambled_example_is_an_orthogonal_mixing_of_the_plain_one(name: str) -> None:
    plain, scrambled = Problem(name, 3, data_seed=4), Problem(f"{name}s", 3, data_seed=4)
    mixing = scrambled.mixing
    torch.testing.assert_close(mixing @ mixing.T, torch.eye(FEATURES), atol=1e-5, rtol=0)
    assert (mixing - torch.eye(FEATURES)).abs().max() > 0.3
    own, mixed = (problem.draw("test", 50, shuffled=True) for problem in (plain, scrambled))
    torch.testing.assert_close(mixed.inputs @ mixing.T, own.inputs, atol=1e-5, rtol=0)
    assert torch.equal(mixed.labels, own.labels)


@pytest.mark.parametrize("name", ["1", "2", "3"])
def test_shuffling_cuts_the_link_of_the_spurious_block_and_nothing_else(name: str) -> None:
    problem = Problem(name, 3, data_seed=5)
    linked, cut = (problem.draw("train", MANY, shuffled=shuffled) for shuffled in (False, True))
    for before, after, labels in zip(linked.inputs, cut.inputs, cut.labels, strict=True):
        assert torch.equal(before[:, :INVARIANT], after[:, :INVARIANT])
        torch.testing.assert_close(
            before[:, INVARIANT:].sort(0).values, after[:, INVARIANT:].sort(0).values
        )
        table = torch.cat([after[:, INVARIANT:], labels[:, None]], 1)
        assert torch.corrcoef(table.T)[-1, :-1].abs().max() < 0.03


def test_splits_differ_and_a_seed_fixes_them() -> None:
    def inputs(split: str, seed: int) -> Tensor:
        return Problem("3", 3, seed).draw(split, 10, shuffled=False).inputs  # type: ignore[arg-type]

    assert torch.equal(inputs("train", 0), inputs("train", 0))
    assert not torch.equal(inputs("train", 0), inputs("validation", 0))
    assert not torch.equal(inputs("train", 0), inputs("train", 1))


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(BenchmarkError, match="2 or more, but got 1"):
        Problem("1", 1, data_seed=0)
    with pytest.raises(BenchmarkError, match="even and positive, but got 7"):
        Problem("1", 2, data_seed=0).draw("train", 7, shuffled=False)


def test_hyper_parameters_stay_in_the_published_ranges() -> None:
    assert draw_settings(0) == Draw(1000, 1e-3, 0.0, 0.9, 0.01)
    for draw in map(draw_settings, range(1, 200)):
        assert 1e-4 <= draw.learning_rate <= 1e-2
        assert 1e-6 <= draw.weight_decay <= 1e-2
        assert 10**-3 <= 1 - draw.share <= 10**-0.3
        assert 1e-3 <= draw.step <= 1e-1


@pytest.mark.parametrize("method", METHODS)
def test_the_short_form_of_regression_has_the_slope_of_all_samples(method: str) -> None:
    sample = Problem("1s", 3, data_seed=0).draw("train", 200, shuffled=False)
    short = rows_of(sample, "mse")
    assert short.inputs.shape == (3 * 24, FEATURES + 1)
    inputs = functional.pad(sample.inputs.flatten(0, 1), (0, 1), value=1.0)
    whole = replace(
        short,
        inputs=inputs,
        transposed=inputs.T,
        labels=sample.labels.reshape(1, -1),
        groups=torch.arange(3).repeat_interleave(200)[None],
    )
    draws = [draw_settings(number) for number in range(4)]
    weights = torch.stack([start_weights(draw) for draw in draws])
    ours, expected = (
        METHODS[method](rows, draws)(weights @ rows.transposed) @ rows.inputs
        for rows in (short, whole)
    )
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def loss_of(kind: str) -> nn.Module:
    return nn.MSELoss() if kind == "mse" else nn.BCEWithLogitsLoss()


def plainly_trained(
    sample: Sample, kind: str, draw: Draw, iterations: int, penalised: bool
) -> Tensor:
    """One model with torch's own layer, loss and optimiser, the penalty by double gradients."""
    layer = nn.Linear(FEATURES, 1)
    start = start_weights(draw)
    with torch.no_grad():
        layer.weight.copy_(start[None, :-1])
        layer.bias.copy_(start[-1:])
    optimiser = torch.optim.Adam(
        layer.parameters(), lr=draw.learning_rate, weight_decay=draw.weight_decay
    )
    loss = loss_of(kind)
    for _ in range(iterations):
        risks, penalty = [], torch.zeros(())
        for inputs, labels in zip(sample.inputs, sample.labels, strict=True):
            scale, shift = torch.ones((), requires_grad=True), torch.zeros((), requires_grad=True)
            risks.append(loss(layer(inputs)[:, 0] * scale + shift, labels))
            slopes = torch.autograd.grad(risks[-1], (scale, shift), create_graph=True)
            penalty = penalty + sum(slope.square() for slope in slopes)
        share = draw.share if penalised else 0.0
        optimiser.zero_grad()
        objective = (1 - share) * torch.stack(risks).mean() + share * penalty
        objective.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return torch.cat([layer.weight[0], layer.bias]).detach()


@pytest.mark.parametrize("example", ["1", "3s"])
@pytest.mark.parametrize("method", ["ERM", "IRMv1"])
def test_a_stack_takes_the_steps_of_torchs_own_single_runs(example: str, method: str) -> None:
    problem = Problem(example, 3, data_seed=0)
    sample = problem.draw("train", 60, shuffled=False)
    draws = [draw_settings(number) for number in range(3)]
    stacked = train(rows_of(sample, problem.kind), METHODS[method], draws, 40)
    for weights, draw in zip(stacked, draws, strict=True):
        expected = plainly_trained(sample, problem.kind, draw, 40, penalised=method == "IRMv1")
        torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_replica_in_a_stack_equals_its_run_alone(method: str) -> None:
    rows = training_rows("2s", 40)
    draws = [draw_settings(number) for number in range(4)]
    stacked = train(rows, METHODS[method], draws, 30)
    for weights, draw in zip(stacked, draws, strict=True):
        alone = train(rows, METHODS[method], [draw], 30)
        torch.testing.assert_close(weights, alone[0], rtol=1e-4, atol=1e-5)


def test_penalties_change_what_is_learned() -> None:
    rows, draws = training_rows("3", 100), [draw_settings(0)]
    learned = {name: train(rows, METHODS[name], draws, 50) for name in METHODS if name != "oracle"}
    for name in ("IRMv1", "irm", "vrex", "group_dro"):
        assert (learned[name] - learned["ERM"]).abs().max() > 1e-3


def test_errors_are_squared_or_shares_of_wrong_labels() -> None:
    sample = Sample(torch.zeros(1, 4, FEATURES), torch.tensor([[0.0, 1.0, 1.0, 1.0]]))
    weights = torch.zeros(2, FEATURES + 1)
    weights[:, -1] = torch.tensor([1.0, -1.0])
    assert errors_by_environment(weights, sample, "bce").tolist() == [[0.25], [0.75]]
    assert errors_by_environment(weights, sample, "mse").tolist() == [[0.25], [3.25]]


def test_the_oracle_beats_erm() -> None:
    protocol = Protocol("small", samples=500, iterations=400, draws=1, data_seeds=1)
    steep = [Draw(1000, learning_rate=1e-2)]
    errors = {}
    for method in ("ERM", "oracle"):
        problem = Problem("3", 3, data_seed=0)
        rows = rows_of(problem.draw("train", protocol.samples, method == "oracle"), problem.kind)
        weights = train(rows, METHODS[method], steep, protocol.iterations)
        test = problem.draw("test", protocol.samples, shuffled=True)
        errors[method] = errors_by_environment(weights, test, problem.kind).mean().item()
    assert errors["oracle"] < 0.1
    assert errors["ERM"] > 0.3


def line(job: Job, validation: Sequence[float], test: Sequence[float]) -> Line:
    """A line of one environment, an error for each draw."""
    return Line(job, [[error] for error in validation], [[error] for error in test], 1.0, "abc")


def test_one_draw_is_selected_for_all_data_seeds_by_validation() -> None:
    lines = [
        line(Job("3", 3, "ERM", 1), [0.4, 0.3, math.nan], [0.7, 0.6, 0.0]),
        line(Job("3", 3, "ERM", 0), [0.1, 0.3, 0.0], [0.5, 0.1, 0.0]),
    ]
    cell = select(lines)
    assert (cell.draw, cell.errors) == (0, (0.5, 0.7))
    assert cell.mean == pytest.approx(0.6)
    assert cell.spread == pytest.approx(math.sqrt(0.02))


def test_the_table_shows_what_is_there_beside_what_is_published() -> None:
    lines = [line(Job("1", 3, "ERM", seed), [1.0], [13.0 + seed]) for seed in range(3)]
    lines.append(line(Job("3s", 3, "ERM", 0), [1.0], [0.25]))
    lines.append(line(Job("3", 6, "IRMv1", 0), [1.0], [0.0]))
    ours, published = example_rows(lines)
    assert ours == {"error": "ERM", "1": "14.00 ± 1.00", "3s": ".250", "data seeds": "1 to 3"}
    assert published == {"error": "ERM, published", "1": "13.36", "3s": "", "data seeds": "50"}
    (row,) = environment_rows(lines)
    assert row == {
        "environments": "6", "IRMv1": ".000", "IRMv1 published": ".144", "data seeds": "1",
    }  # fmt: skip
    assert markdown([row]).splitlines()[2] == (
        "| 6            | .000  | .144            | 1          |"
    )


def test_jobs_go_data_seed_by_data_seed() -> None:
    jobs = jobs_of(["1", "2"], [3], ["ERM", "irm"], data_seeds=2)
    assert [job.data_seed for job in jobs] == [0] * 4 + [1] * 4
    assert {job.example for job in jobs[:4]} == {"1", "2"}


def test_a_run_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_of(["1", "2"], [2], ["ERM", "irm"], data_seeds=2)
    uninterrupted = Record(tmp_path / "whole.jsonl", TINY)
    run(jobs, uninterrupted)
    record = Record(tmp_path / "deep" / "record.jsonl", TINY)
    run(jobs[:3], record)
    with record.path.open("a") as file:
        file.write('{"example": "2", "cut o')
    performed = []

    def counted(job: Job, protocol: Protocol, commit: str) -> Line:
        performed.append(job)
        return perform(job, protocol, commit)

    monkeypatch.setattr(invariance_unit_tests, "perform", counted)
    run(jobs, record)
    assert performed == jobs[3:]
    assert [own.job for own in record.lines()] == jobs
    assert [own.test for own in record.lines()] == [own.test for own in uninterrupted.lines()]
    run(jobs, record)
    assert performed == jobs[3:]


def test_a_record_of_another_protocol_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.jsonl"
    run([Job("1", 2, "ERM", 0)], Record(path, TINY))
    assert json.loads(path.read_text())["draws"] == TINY.draws
    with pytest.raises(BenchmarkError, match=r"line 1: samples is not 10000 .* --record"):
        Record(path, FULL).lines()
    assert main(["--report", "--full", "--record", str(path)]) == 2
    assert "name another file by --record" in capsys.readouterr().err


def test_the_command_names_its_protocol_and_prints_the_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invariance_unit_tests, "REDUCED", TINY)
    given = ["--record", str(tmp_path / "record.jsonl")]
    assert main([*given, "--report"]) == 0
    assert "holds nothing yet" in capsys.readouterr().out
    assert main([*given, "--examples", "1", "2s", "--methods", "ERM", "oracle"]) == 0
    assert main([*given, "--environments", "2,4", "--data-seeds", "1"]) == 0
    assert main([*given, "--report"]) == 0
    shown = capsys.readouterr().out
    assert "protocol: tiny: 40 samples" in shown
    assert "10 of 8" not in shown
    assert "8 of 8: example 2s, 3 environments, oracle, data seed 1" in shown
    assert "| error             | 1 " in shown
    assert "| environments | IRMv1" in shown


def test_numbers_of_environments_that_are_none_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--environments", "2,many"])
    assert "numbers with commas, as 2,6,10, not '2,many'" in capsys.readouterr().err


def test_adam_of_a_stack_is_torchs_adam() -> None:
    draws = [draw_settings(number) for number in range(3)]
    start = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    ours = StackedAdam(start, draws)
    theirs = [nn.Parameter(row.clone()) for row in start]
    optimisers = [
        torch.optim.Adam([row], lr=draw.learning_rate, weight_decay=draw.weight_decay)
        for row, draw in zip(theirs, draws, strict=True)
    ]
    for number in range(50):
        gradient = torch.randn(3, 4, generator=torch.Generator().manual_seed(number))
        ours.step(gradient)
        for row, slope, optimiser in zip(theirs, gradient, optimisers, strict=True):
            row.grad = slope
            optimiser.step()
    torch.testing.assert_close(ours.weights, torch.stack([row.detach() for row in theirs]))
