"""The paper's tables again: each published row, and below it what was measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from cmir.paper.protocol import Reproduction
from cmir.paper.published_numbers import PaperRow, Published, paper_row
from cmir.sweep.preparation import SYNTHETIC

NO_DATA = "not reproduced: data not available"


@dataclass(frozen=True)
class Entry:
    """One data set: its published row, and what the protocol gave; None without its data."""

    row: PaperRow
    found: Reproduction | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Heads of the columns of its scores."""
        return tuple(score.column for score in self.row.scores)

    @property
    def lines(self) -> list[list[str]]:
        """Title, whose scores these are, and the scores: published, then ours."""
        published = [score.printed for score in self.row.scores]
        return [
            [self.row.title, "published", *published],
            [self.row.title, self._origin(), *map(self._cell, self.row.scores)],
        ]

    @property
    def note(self) -> str:
        """How a reproduced row came about, and in what its data differs from the paper's."""
        found = self.found
        if found is None:
            return ""
        tested = found.sizes.get(self.row.split, 0)
        sizes = "/".join(str(found.sizes.get(n, 0)) for n in ("train", "id_val", self.row.split))
        return (
            f"{self.row.title}: best of {found.finished} configurations is trial {found.trial} of "
            f"sweep {found.sweep}; {tested} test samples, test-set access no. {found.accesses}; "
            f"{found.source}, {sizes} samples, features {_sizes(found.features)}"
            f"{self._difference(found)}."
        )

    def _difference(self, found: Reproduction) -> str:
        if found.space.endswith(SYNTHETIC):
            return ": made up, and says nothing about the paper"
        same = self.row.sizes.items() <= found.features.items()
        return "" if same else f", not the paper's ({_sizes(self.row.sizes)}): no like for like"

    def _origin(self) -> str:
        if self.found is None:
            return NO_DATA
        if not self.found.heldout:
            return f"not reproduced: trial {self.found.trial} diverged when trained again"
        name = "SYNTHETIC STAND-IN" if self.found.space.endswith(SYNTHETIC) else "ours"
        return f"{name}, mean ± sd of {len(self.found.seeds)} seeds"

    def _cell(self, score: Published) -> str:
        heldout = {} if self.found is None else self.found.heldout
        key = f"{self.row.split}/{score.metric}"
        if key not in heldout:
            return "-" if not heldout else "not measured"
        return f"{score.shown(heldout[key])} ± {score.shown(heldout[f'{key}_std'])}"


def entry(space: str, found: Reproduction | None) -> Entry:
    """The entry of a sweep file's name.

    Raises:
        InputError: the paper has no such data set.
    """
    return Entry(paper_row(space), found)


def tables(entries: Sequence[Entry]) -> list[tuple[list[str], list[list[str]]]]:
    """Heads and lines; data sets with the same columns that follow each other share a table."""
    return [
        (["data set", "scores", *columns], [line for one in group for line in one.lines])
        for columns, group in groupby(entries, key=lambda one: one.columns)
    ]


def _sizes(features: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in features.items())
