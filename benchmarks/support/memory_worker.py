"""A worker process that holds a data set as a trial does; `memory.py` looks at it from outside.

`memory_worker FOLDER` prints a line when all is imported, and one when the features are loaded
and every sample has been read once; it waits for a line in between and afterwards.
"""

from __future__ import annotations

import sys

import torch

import cmir.runner.scheduling.worker  # noqa: F401  What a trial's process has imported.
from cmir.config import ModelConfig
from cmir.data import DevelopmentData, load_dataset
from cmir.method.networks.features import Features, load_features

BATCH = 48


def main(folder: str) -> None:
    """Waits, loads, waits."""
    torch.set_num_threads(1)
    _wait("imported")
    data = load_dataset(folder).development()
    features = load_features(data, ModelConfig(), torch.device("cpu"))
    touch(data, features)
    _wait("loaded")


def touch(data: DevelopmentData, features: Features) -> None:
    """Gathers every sample once, as an epoch does."""
    for split in data.splits.values():
        for start in range(0, len(split.rows), BATCH):
            rows = torch.from_numpy(split.rows[start : start + BATCH])
            for modality in features.values():
                modality.gather(rows[None])


def _wait(word: str) -> None:
    print(word, flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1])
