"""Which configurations train together: packs that agree on their structure."""

from __future__ import annotations

from cmir.runner.study import AskedTrial, SweepStudy
from cmir.space.search_space import SearchSpace

# Where the structure is searched, so many structures are tried whatever a pack would save.
STRUCTURES = 12
LARGEST = 64


class Packs:
    """Asks a study for packs, and keeps what was asked for and fits none yet.

    Interrupted trials and start points are known before they are asked for: those that do not
    agree with a pack wait, in order, for the next ones. What the sampler makes is asked to agree.
    """

    def __init__(self, study: SweepStudy) -> None:
        self._study = study
        self._waiting: list[AskedTrial] = []

    @property
    def in_flight(self) -> int:
        """Number of trials handed out and not told."""
        return self._study.in_flight - len(self._waiting)

    def ask(self, size: int, places: int, made: int | None = None) -> list[AskedTrial]:
        """The next pack.

        Args:
            size: its largest number of configurations.
            places: number of trials that may still be asked for, those that wait included.
            made: with so many in the pack, the sampler adds none, only what is known may join;
                None: `size`.

        Raises:
            InputError: see `SweepStudy.ask`.
        """
        first = self._waiting.pop(0) if self._waiting else self._study.ask()
        pack = [first]
        if runs_alone(first):
            return pack
        self._take_waiting(pack, size)
        while len(pack) < size and len(pack) + len(self._waiting) < places:
            if not self._study.queued and made is not None and len(pack) >= made:
                break
            asked = self._study.ask(like=first)
            (pack if agree(first, asked) else self._waiting).append(asked)
        return pack

    def _take_waiting(self, pack: list[AskedTrial], size: int) -> None:
        for asked in [trial for trial in self._waiting if agree(pack[0], trial)]:
            if len(pack) < size:
                pack.append(asked)
                self._waiting.remove(asked)


def runs_alone(trial: AskedTrial) -> bool:
    """Whether a trial shares its stack with no other.

    Fine-tuned language models do not stack, and what failed once would take its pack with it.
    """
    return trial.is_retry or bool(trial.config.model.backbone)


def agree(first: AskedTrial, other: AskedTrial) -> bool:
    """Whether two trials can share a stack."""
    if runs_alone(first) or runs_alone(other):
        return False
    return first.config.structure == other.config.structure


def widest_pack(space: SearchSpace) -> int:
    """The largest pack that a sampler may fill without being asked to.

    A pack is one structure: the larger the packs, the fewer structures a sweep tries.
    """
    if not space.shaping:
        return LARGEST
    return min(LARGEST, max(1, space.file.trials // STRUCTURES))
