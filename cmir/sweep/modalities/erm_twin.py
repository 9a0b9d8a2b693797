"""The ERM twin of a champion: the model that is asked what each modality is worth.

A champion that was told to ignore a modality says nothing about it. Its twin has the same sizes,
optimiser and seeds, and is trained by its prediction error alone. Its epochs are chosen on
`id_val`, so that `ood_val` has chosen nothing in it but its sizes and its learning rate.
"""

from __future__ import annotations

import time

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.method.baseline_recipes import erm
from cmir.method.training.fitting import fit
from cmir.method.training.reports import Diverged, TrialResult

MOST_SECONDS = 60.0


def erm_twin(config: TrialConfig) -> TrialConfig:
    """The configuration of a champion's twin."""
    base = erm(config)
    objective = f"id_val/{config.objective.partition('/')[2]}"
    return base.model_copy(update={"objective": objective})


def trained_twin(
    data: DevelopmentData, config: TrialConfig, seconds: float = MOST_SECONDS
) -> tuple[TrialResult | None, str]:
    """The twin, trained in this process; where there is none, why.

    Args:
        data: of the sweep.
        config: of the champion.
        seconds: after which the training is given up, at the end of an epoch.
    """
    if config.model.backbone:
        return None, "the language model would have to be trained again"
    started = time.monotonic()
    try:
        for report in fit(data, erm_twin(config)):
            if report.result is not None:
                return report.result, ""
            if time.monotonic() - started > seconds:
                break
    except (Diverged, InputError) as fault:
        return None, f"the ERM twin of the champion cannot be trained: {fault}"
    return None, f"the ERM twin of the champion takes more than {seconds:.0f} s to train here"
