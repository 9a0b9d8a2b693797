"""The verdicts on modalities in sentences, and as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from cmir.evaluation.modalities.estimates import Estimate
from cmir.evaluation.modalities.rate_evidence import RateEvidence
from cmir.evaluation.modalities.verdicts import Verdict, Word
from cmir.evaluation.modalities.worth import Worth, Worths
from cmir.sweep.modalities.modality_findings import ModalityFindings

SAID: Mapping[Word, str] = {
    "spurious": "looks spurious for new groups",
    "useful": "is useful in new groups",
    "adds nothing": "adds nothing",
    "cannot be told": "cannot be told",
}
QUARTERS = (0.25, 0.5, 0.75)


def said(verdict: Verdict) -> str:
    """The verdict in words."""
    return SAID[verdict.word] + (", in part" if verdict.is_still_useful else "")


def sentences(found: ModalityFindings) -> list[str]:
    """One short sentence for each modality: the verdict, and what decided it, with intervals."""
    return [_short(verdict) for verdict in found.verdicts.values()]


def basis(found: ModalityFindings) -> str:
    """What the sentences rest on, or why they rest on little."""
    number, what = found.groups
    if found.missing:
        return f"Only the rates of the search were looked at: {found.missing}."
    return (
        f"Asked of {found.asked}, each modality swapped between samples; intervals are over its "
        f"seeds and the {number} new {what}s."
    )


def sentence(verdict: Verdict, champion: Worths) -> str:
    """Everything about one modality."""
    parts = [*_worths(verdict), *_rates(verdict), *_heard(verdict.modality, champion)]
    reasons = "; ".join(parts) or "nothing was measured"
    return f"{verdict.modality} {said(verdict)}: {reasons}"


def as_values(found: ModalityFindings) -> dict[str, Any]:
    """Everything as JSON has it."""
    return {
        "asked": found.asked,
        "missing": found.missing,
        "groups": {"number": found.groups[0], "what": found.groups[1]},
        "modalities": {
            name: _verdict_values(verdict, found.champion)
            for name, verdict in found.verdicts.items()
        },
    }


def _short(verdict: Verdict) -> str:
    found = [*_worths(verdict), *_rates(verdict)]
    return f"{verdict.modality} {said(verdict)}: {found[0] if found else 'nothing was measured'}"


def _worths(verdict: Verdict) -> list[str]:
    """The link, which decides on spurious, and the gain, which decides on useful."""
    known, new = verdict.evidence.known, verdict.evidence.new
    if known is None or new is None:
        return []
    link = (
        f"its link with the label is {_plain(known.link)} in known groups and {_plain(new.link)} "
        f"in new ones (p of a loss {_p(verdict.p_spurious)})"
    )
    gain = (
        f"without it the error grows by {_share(known.gain)} in known groups and "
        f"{_share(new.gain)} in new ones (p of a gain {_p(verdict.p_useful)})"
    )
    return [gain, link] if verdict.word in ("useful", "adds nothing") else [link, gain]


def _rates(verdict: Verdict) -> list[str]:
    rates = verdict.evidence.rates
    if rates is None:
        return []
    found = rates.new
    way = "falls" if found.value < 0 else "rises"
    return [
        f"in {found.trials} trials error {way} with its rate "
        f"({found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}])"
    ]


def _heard(modality: str, champion: Worths) -> list[str]:
    moves = [champion.get(split, {}).get(modality) for split in ("id_val", "ood_val")]
    if moves[0] is None or moves[1] is None:
        return []
    known, new = (one.moves.value for one in moves if one is not None)
    return [f"swapped, it moves the champion by {known:.2f} and {new:.2f} deviations"]


def _share(gain: Estimate) -> str:
    value, low, high = (100 * one for one in (gain.value, gain.low, gain.high))
    return f"{value:+.1f} % [{low:+.1f}, {high:+.1f}]"


def _plain(link: Estimate) -> str:
    return f"{link.value:.2f} [{link.low:.2f}, {link.high:.2f}]"


def _p(value: float) -> str:
    return "below .001" if value < 0.001 else f"{value:.3f}".replace("0.", ".", 1)


def _verdict_values(verdict: Verdict, champion: Worths) -> dict[str, Any]:
    evidence = verdict.evidence
    return {
        "verdict": verdict.word,
        "sentence": sentence(verdict, champion),
        "p_spurious": verdict.p_spurious,
        "p_useful": verdict.p_useful,
        "is_still_useful": verdict.is_still_useful,
        "erm": {"id_val": _worth_values(evidence.known), "ood_val": _worth_values(evidence.new)},
        "champion": {
            split: _worth_values(by_modality.get(verdict.modality))
            for split, by_modality in champion.items()
        },
        "rates": None if evidence.rates is None else _rate_values(evidence.rates),
    }


def _worth_values(worth: Worth | None) -> dict[str, Any] | None:
    return None if worth is None else asdict(worth)


def _rate_values(rates: RateEvidence) -> dict[str, Any]:
    return {
        "best": _quarters(rates.best),
        "all": _quarters(rates.every),
        "correlation_new": asdict(rates.new),
        "correlation_known": None if rates.known is None else asdict(rates.known),
    }


def _quarters(values: Any) -> dict[str, Any]:
    low, middle, high = np.quantile(values, QUARTERS).tolist()
    return {"trials": len(values), "quartiles": [low, middle, high]}
