"""The sweep's command on a cluster that somebody else has started: two nodes, as Ray sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.cluster_utils import Cluster

from benchmarks.support.timed import ROOT
from tests.support.small_sweep import write_data, write_space

COMMAND = ROOT / "workflows" / "sweep.py"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves its nodes' pipes open.
def test_a_sweep_runs_on_the_nodes_of_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(tmp_path / "data" / "small")
    space = write_space(tmp_path)
    # The nodes are told what a user's `ray start` would be told.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
        command = [sys.executable, str(COMMAND), "--space", str(space)]
        command += ["--address", cluster.address, "--concurrency", "2"]
        environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    journal = JournalFileBackend(str(tmp_path / "mlruns" / "studies" / "small.journal"))
    (study,) = optuna.get_all_study_summaries(JournalStorage(journal))
    assert study.n_trials == 4
