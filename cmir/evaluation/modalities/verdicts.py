"""The verdict on each modality: the rule from evidence to one of four words.

- *spurious*: a part of its link with the label is lost in new groups;
- *useful*: the model is better with it in new groups, and its link is not surely lost;
- *adds nothing*: the model is neither better nor worse with it anywhere, and that is sure;
- *cannot be told*: all else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cmir.evaluation.modalities.rate_evidence import RateEvidence
from cmir.evaluation.modalities.worth import Worth
from cmir.evaluation.paired_tests import holm

Word = Literal["spurious", "useful", "adds nothing", "cannot be told"]
LEVEL = 0.05
# Of the link in known groups, so much must be there in new ones.
KEPT = 0.8
# Shares of a constant's squared error that are as good as nothing.
NOTHING = 0.02


@dataclass(frozen=True)
class Evidence:
    """What is known of one modality; None where it was not measured.

    Attributes:
        known: its worth to the ERM baseline in known groups.
        new: the same in new groups.
        rates: what the search says of its rate: it decides only where no worth was measured.
    """

    known: Worth | None = None
    new: Worth | None = None
    rates: RateEvidence | None = None


@dataclass(frozen=True)
class Verdict:
    """Of one modality.

    Attributes:
        modality: its name.
        word: what it is.
        p_spurious: of "it is spurious", corrected for the number of modalities (Holm).
        p_useful: of "it is useful in new groups", likewise; a spurious one may still be.
        evidence: that it rests on.
    """

    modality: str
    word: Word
    p_spurious: float
    p_useful: float
    evidence: Evidence

    @property
    def is_still_useful(self) -> bool:
        """Whether it is spurious in part: the model would be worse off without it all the same."""
        return self.word == "spurious" and self.p_useful <= LEVEL


def verdicts(evidence: Mapping[str, Evidence]) -> dict[str, Verdict]:
    """A verdict on each modality, by name.

    "Spurious" needs a link in known groups, and less than four fifths of it in new ones, each by a
    one-sided test, so that p is the larger of the two (an intersection of tests). Where no worth
    was measured the rates speak alone: the more a spurious modality is disturbed, the smaller is
    the error in new groups, and the larger in known ones. "Useful" needs a gain in new groups.
    The p values of each are corrected over the modalities (Holm), so that at most one sweep in
    twenty accuses any modality that is not spurious.

    Args:
        evidence: of each modality.
    """
    accused = holm({name: _p_spurious(one) for name, one in evidence.items()})
    cleared = holm({name: _p_useful(one) for name, one in evidence.items()})
    return {
        name: Verdict(
            name, _word(one, accused[name], cleared[name]), accused[name], cleared[name], one
        )
        for name, one in evidence.items()
    }


def _word(evidence: Evidence, accused: float, cleared: float) -> Word:
    if accused <= LEVEL:
        return "spurious"
    if cleared <= LEVEL:
        return "useful"
    return "adds nothing" if _adds_nothing(evidence) else "cannot be told"


def _p_spurious(evidence: Evidence) -> float:
    if evidence.known is None or evidence.new is None:
        return _p_by_rates(evidence.rates)
    lost = evidence.new.link.less(KEPT, evidence.known.link)
    return max(evidence.known.link.p_above, lost.p_below)


def _p_by_rates(rates: RateEvidence | None) -> float:
    if rates is None or rates.known is None:
        return 1.0
    return max(rates.new.p_below, rates.known.p_above)


def _p_useful(evidence: Evidence) -> float:
    return 1.0 if evidence.new is None else evidence.new.gain.p_above


def _adds_nothing(evidence: Evidence) -> bool:
    gains = [one.gain for one in (evidence.known, evidence.new) if one is not None]
    return len(gains) == 2 and all(max(-one.low, one.high) <= NOTHING for one in gains)
