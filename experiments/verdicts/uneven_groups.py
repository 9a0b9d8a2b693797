"""How the verdict fares where links differ from group to group, on made-up predictions.

    python experiments/verdicts/uneven_groups.py [--draws 100]

The worlds of `modality_verdicts.py` have speakers that do not differ. Here three modalities have
links of .3, .5 and .7 that vary between groups, as many in new groups as in known ones: nobody is
to be accused. Then the strongest link falls to 0 in new groups: it is to be found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# A script's own folder is on the path, but not the repository's.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks.support.results import Row, show
from cmir.evaluation.modalities.estimates import Estimate, estimate_of
from cmir.evaluation.modalities.verdicts import Evidence, verdicts
from cmir.evaluation.modalities.worth import Worth, links

LINKS, LOST = (0.3, 0.5, 0.7), (0.3, 0.5, 0.0)
KNOWN_GROUPS, SAMPLES_OF_KNOWN, SAMPLES_OF_NEW, SEEDS = 60, 4, 25, 3
DEVIATIONS, NEW_GROUPS = (0.0, 0.2, 0.4), (5, 9, 20)
UNASKED = Estimate(0.0, 0.0, 0.0, 1.0, 5.0, 5)


def estimates(
    groups: int, size: int, wanted: Sequence[float], deviation: float, random: np.random.Generator
) -> list[Estimate]:
    """The links of one split, each with its uncertainty."""
    codes = np.repeat(np.arange(groups), size)
    labels = random.normal(size=len(codes))
    found = []
    for link in wanted:
        drawn = np.clip(link + deviation * random.normal(size=groups), -0.95, 0.95)[codes]
        own = drawn * labels + np.sqrt(1 - drawn**2) * random.normal(size=len(codes))
        by_seed = np.stack([own + 0.3 * random.normal(size=len(codes)) for _ in range(SEEDS)])
        found.append(estimate_of(links(by_seed[..., None], labels[:, None]), codes))
    return found


def accused(known: Sequence[Estimate], new: Sequence[Estimate]) -> list[bool]:
    """Which modalities are called spurious."""
    evidence = {
        str(place): Evidence(Worth(one, UNASKED, UNASKED), Worth(other, UNASKED, UNASKED))
        for place, (one, other) in enumerate(zip(known, new, strict=True))
    }
    return [one.word == "spurious" for one in verdicts(evidence).values()]


def row(deviation: float, groups: int, draws: int, random: np.random.Generator) -> Row:
    """How often somebody is accused, and how often a lost link is found."""
    alarms, hits = 0, 0
    for _ in range(draws):
        known = estimates(KNOWN_GROUPS, SAMPLES_OF_KNOWN, LINKS, deviation, random)
        new = estimates(groups, SAMPLES_OF_NEW, LINKS, deviation, random)
        lost = estimates(groups, SAMPLES_OF_NEW, LOST, deviation, random)
        alarms += any(accused(known, new))
        hits += accused(known, lost)[-1]
    shares = {"somebody accused": alarms / draws, "lost link found": hits / draws}
    return {"deviation between groups": deviation, "new groups": groups, **shares}


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line, draws, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=100, help="of each case (default: 100)")
    given = parser.parse_args(arguments)
    random = np.random.default_rng(0)
    cases = [(deviation, groups) for deviation in DEVIATIONS for groups in NEW_GROUPS]
    show("links that differ between groups", [row(*case, given.draws, random) for case in cases])


if __name__ == "__main__":
    main()
