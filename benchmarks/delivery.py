"""What it costs to bring a data set to a host that has none: time, bytes, memory of both ends.

    python benchmarks/delivery.py --scale 0.31

Two nodes of Ray on this machine stand for two hosts. The second one is told a path where nothing
lies, and so gets the development part from the driver, then (a new process) finds it in its cache.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ray
from ray.cluster_utils import Cluster

from benchmarks.support.mosei_like import write_mosei_like
from benchmarks.support.results import Row, keep, show
from benchmarks.support.timed import ROOT, end_as_interrupt, scratch
from cmir.data import load_dataset
from cmir.runner.scheduling.data_identity import DataIdentity, data_here
from cmir.runner.scheduling.data_server import DataServer, data_served

STORE = 128 << 20
NOWHERE = "/nowhere"


def own_memory() -> dict[str, float]:
    """Megabytes of this process: what it holds at most of its own, and now with mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = {
        line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("Vm", "Rss"))
    }
    return {name: int(values[name]) / 1024 for name in ("VmHWM", "RssAnon")}


def opened(identity: DataIdentity) -> dict[str, Any]:
    """What the other host does before its first trial."""
    before, began = own_memory(), time.perf_counter()
    found = data_here(identity)
    seconds, after = time.perf_counter() - began, own_memory()
    grown = {name: after[name] - before[name] for name in after}
    return {"seconds": seconds, "notice": found.notice, **grown}


class MeasuredServer(DataServer):
    """The server of the driver's data, which tells its memory."""

    def memory(self) -> dict[str, float]:
        """Of its process."""
        return own_memory()


def measure(folder: Path, url: str) -> list[Row]:
    """The data arrives, and is opened again."""
    data = dataclasses.replace(load_dataset(folder).development(), url=url)
    rows: list[Row] = []
    with data_served("", data, folder / "partitions", folder / "states", MeasuredServer) as source:
        assert source is not None
        identity = dataclasses.replace(DataIdentity.of(data, source), folder=NOWHERE, files=())
        server: Any = ray.get_actor(source.server)
        before: dict[str, float] = ray.get(server.memory.remote())
        size = ray.get(server.listing.remote()).size
        for what in ("brought", "in the cache"):
            there: Any = ray.remote(resources={"there": 1}, max_calls=1)(opened)
            found = ray.get(there.remote(identity))
            print(found["notice"])
            sender = ray.get(server.memory.remote())
            rows.append(
                {
                    "what": what,
                    "GB": round(size / 1e9, 2),
                    "s": round(found["seconds"], 2),
                    "receiver's peak, MB more": round(found["VmHWM"]),
                    "of its own at the end": round(found["RssAnon"]),
                    "sender's peak, MB more": round(sender["VmHWM"] - before["VmHWM"]),
                    "sender's own at the end": round(sender["RssAnon"] - before["RssAnon"]),
                    "load": round(os.getloadavg()[0], 1),
                }
            )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures, prints and keeps the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=0.31, help="of CMU-MOSEI; .31 is 1 GB")
    parser.add_argument("--url", action="store_true", help="from a file:// URL, not the driver")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    end_as_interrupt()
    os.environ["PYTHONPATH"] = str(ROOT)
    with scratch() as folder:
        os.environ["CMIR_CACHE"] = str(folder / "cache")
        data = write_mosei_like(folder / "data", given.scale)
        node = {"object_store_memory": STORE, "include_dashboard": False, "num_cpus": 1}
        cluster = Cluster(initialize_head=True, connect=True, head_node_args=node)
        try:
            cluster.add_node(num_cpus=1, object_store_memory=STORE, resources={"there": 1})
            rows = measure(data, f"file://{data}" if given.url else "")
        finally:
            ray.shutdown()
            cluster.shutdown()  # type: ignore[no-untyped-call]
    show("data for another host", rows)
    print(f"kept in {keep(rows, 'delivery', given.out)}")


if __name__ == "__main__":
    main()
