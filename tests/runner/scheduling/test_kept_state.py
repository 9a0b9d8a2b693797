"""How often the state of a trial is kept, and how it gets to a driver whose disk is elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch

from cmir.data import load_dataset
from cmir.data.transport.development_part import PIECE
from cmir.runner.checkpoints import StatePlace
from cmir.runner.driver_disk import DriverDisk
from cmir.runner.scheduling.data_server import data_served
from cmir.runner.scheduling.kept_state import WORTH, Cadence, KeptState
from cmir.runner.scheduling.ray_session import RAY_SETTINGS
from tests.support.small_sweep import write_data


def kept_after(seconds: float, cost: float, epochs: int, last: int = 0) -> list[int]:
    """The epochs after which it is kept, where each takes as long."""
    cadence, found = Cadence(last), []
    for epoch in range(last + 1, epochs + 1):
        if cadence.is_due(epoch, epochs, seconds):
            cadence.note(epoch, cost)
            found.append(epoch)
    return found


@pytest.mark.parametrize(
    ("seconds", "cost", "epochs", "wanted"),
    [
        (WORTH * 0.99, 0.0, 40, []),
        # A twentieth of an epoch, and a little more.
        (20.0, 1.0, 6, [1, 2, 3, 4, 5]),
        (20.0, 1.01, 8, [1, 3, 5, 7]),
        # The first one shows that it costs too much for so few epochs.
        (6.0, 3.0, 10, [1]),
        (6.0, 3.0, 25, [1, 11, 21]),
        (60.0, 1.0, 1, []),
    ],
)
def test_the_state_is_kept_every_kth_epoch_and_costs_a_twentieth_at_most(
    seconds: float, cost: float, epochs: int, wanted: list[int]
) -> None:
    found = kept_after(seconds, cost, epochs)
    assert found == wanted
    # The first is what tells the cost.
    assert cost * len(found[1:]) <= 0.05 * seconds * epochs


def test_who_goes_on_counts_from_there() -> None:
    assert kept_after(20.0, 1.5, 12, last=4) == [5, 7, 9, 11]


@pytest.fixture
def local_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in RAY_SETTINGS.items():
        monkeypatch.setenv(name, value)
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.usefixtures("local_ray")
def test_a_state_goes_to_the_driver_and_comes_back_in_pieces(tmp_path: Path) -> None:
    data = load_dataset(write_data(tmp_path / "data")).development()
    states = tmp_path / "states"
    (tmp_path / "mark").write_text("of the driver")
    place, disk = StatePlace(str(states), 4, 2), DriverDisk(str(tmp_path / "mark"), "of another")
    # Two pieces and a bit.
    large = torch.arange(2 * PIECE // 4 + 5, dtype=torch.float32)
    state = {"epoch": 2, "large": large, "small": [torch.ones(3, dtype=torch.float64)]}
    with data_served("", data, tmp_path / "partitions", states) as source:
        kept = KeptState(place, disk, source)
        kept.write(2, state)
        assert [file.name for file in states.iterdir()] == ["00004.00002.state"]
        found = kept.read()
        assert found is not None
        with pytest.raises(FileNotFoundError):
            KeptState(StatePlace(str(states), 4, 3), disk, source).read()
    assert torch.equal(found["large"], large)
    assert (found["epoch"], found["small"][0].tolist()) == (2, [1.0] * 3)
    assert KeptState(StatePlace(str(states), 4), disk, None).read() is None
