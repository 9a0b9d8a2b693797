"""An Optuna study of which samplers and importance evaluators see only some trials."""

from __future__ import annotations

from collections.abc import Container, Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class ShownStudy(Study):
    """The study as if it had `shown` alone; Optuna's Hyperband limits a study in the same way."""

    def __init__(self, study: Study, shown: Sequence[FrozenTrial] = ()) -> None:
        super().__init__(study.study_name, study._storage, study.sampler, study.pruner)
        self.shown = shown

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        return [trial for trial in self.shown if states is None or trial.state in states]
