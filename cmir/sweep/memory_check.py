"""Whether the language models of a sweep fit the device, asked before its first trial."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from cmir.errors import InputError
from cmir.method.language.pretrained.memory import least_bytes
from cmir.runner.scheduling.placement import Placement, Resources, gigabytes
from cmir.sweep.preparation import PreparedSweep

# What a control group allows this machine's processes, in whichever of its two versions.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def check_memory(prepared: PreparedSweep, placement: Placement) -> None:
    """Compares the least memory of a trial with what it has here; a cluster is not asked.

    Raises:
        InputError: a language model of the space does not fit, with both numbers.
    """
    if placement.address is not None:
        return
    room, device = _room(placement.here())
    # To describe a model takes a tenth of a second, and most corners ask for the same.
    known: dict[str, int] = {}
    for name, values in prepared.space.corners():
        config = prepared.space.trial(values)
        training = config.training
        asked = str((config.model.backbone, training.backbone_layers, training.backbone_rank))
        if asked not in known:
            known[asked] = least_bytes(config)
        needed = known[asked]
        if needed > room:
            models = ", ".join(config.model.backbone.values())
            raise InputError(
                f"{prepared.path}: with {name}: training {models} takes at least "
                f"{gigabytes(needed)} a trial (weights, gradients, AdamW's moments and the "
                f"average, without activations), but a trial has {gigabytes(room)} of {device}. "
                "Train the top layers alone (training.backbone_layers: 2) or adapters "
                "(training.backbone_rank: 8), or run fewer trials at a time."
            )


def _room(resources: Resources) -> tuple[int, str]:
    """Bytes that a trial may take, and of what."""
    if resources.gpus_per_trial:
        count = torch.cuda.device_count()
        sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(count)]
        return int(min(sizes) * resources.gpus_per_trial), "its GPU"
    return _memory() // resources.concurrency, "this machine's memory"


def _memory() -> int:
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    told = [Path(file).read_text().strip() for file in LIMITS if Path(file).is_file()]
    return min([whole, *(int(text) for text in told if text.isdigit())])
