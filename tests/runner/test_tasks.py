"""Tasks over the processors: placed by Ray, told apart by how they end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cmir.runner.placement import Resources
from cmir.runner.tasks import Ended, run_tasks, task_resources


def work_in(folder: Path) -> Callable[[int, str], tuple[int, str, int]]:
    """Leaves a trace, then fails for 2 and dies for 3; local, so that workers get it by value."""

    def work(task: int, device: str) -> tuple[int, str, int]:
        (folder / f"{task}").touch()
        if task == 2:
            raise ArithmeticError("two is too much")
        if task == 3:
            os._exit(1)
        return 10 * task, device, torch.get_num_threads()

    return work


@pytest.mark.slow
def test_tasks_end_apart_and_an_interrupt_stops_the_rest(tmp_path: Path) -> None:
    ended: dict[str, Ended[tuple[int, str, int]]] = {}
    tasks = {f"task {number}": number for number in range(5)}
    run_tasks(work_in(tmp_path), tasks, Resources(2), ended.__setitem__)
    assert set(ended) == set(tasks)
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    assert ended["task 4"] == Ended((40, device, 1))
    assert ended["task 2"] == Ended(None, "ArithmeticError: two is too much")
    assert "its worker process died" in ended["task 3"].fault
    seen: list[str] = []

    def interrupt(name: str, ending: Ended[tuple[int, str, int]]) -> None:
        seen.append(name)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        run_tasks(work_in(tmp_path), tasks, Resources(1), interrupt)
    assert seen == ["task 0"]


def test_no_tasks_start_nothing() -> None:
    run_tasks(work_in(Path()), {}, Resources(1), lambda name, ended: pytest.fail("ran"))


def test_one_task_for_each_processor_unless_told() -> None:
    assert task_resources(3).concurrency == 3
    if not torch.cuda.is_available():
        assert task_resources().concurrency == len(os.sched_getaffinity(0))
