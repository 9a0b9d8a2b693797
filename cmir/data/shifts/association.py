"""How words go with the label on two sides of a split, and what exchanges of samples change of it.

The label is centred on its mean over all samples. Sample i has sentiment z_i and holds word w or
not (x_iw). A side's association of a word is the sum of z_i over its samples that hold the word,
divided by their number plus `SHRINKAGE`: a word seen once says little. The contrast is the mean
over all word occurrences of the squared difference between the two sides' associations:

    D = sum_w n_w (a_1w - a_2w)^2 / sum_w n_w.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import CountVectorizer

from cmir.errors import InputError

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

SHRINKAGE = 2.0
FEWEST_SAMPLES = 5
MOST_FEATURES = 20_000


def word_counter(texts: Sequence[str], fewest: int = 1) -> CountVectorizer:
    """A counter of which words a text holds; of texts without spaces, of characters and pairs.

    Args:
        texts: from which the kind of writing is told.
        fewest: samples that must hold a word.
    """
    limits = {"min_df": fewest, "max_features": MOST_FEATURES, "binary": True}
    if _is_unspaced(texts):
        return CountVectorizer(analyzer="char", ngram_range=(1, 2), **limits)
    return CountVectorizer(token_pattern=r"(?u)\b\w[\w']*\b", **limits)


def _is_unspaced(texts: Sequence[str]) -> bool:
    """Whether most texts hold Chinese characters."""
    chinese = sum(any("\u4e00" <= letter <= "\u9fff" for letter in text) for text in texts)
    return 2 * chinese > len(texts)


@dataclass(frozen=True, eq=False)
class WordTable:
    """Which sample holds which word, and how each sample feels.

    A word's number of samples and their summed sentiment travel together, as the real and the
    imaginary part of one number: sums and differences of both are then one operation.

    Attributes:
        held: `(N, W)` sparse by rows: 1 + i z of the sample where it holds the word.
    """

    held: csr_array

    @cached_property
    def total(self) -> ComplexArray:
        """Over all samples, `(W,)`."""
        return np.asarray(self.held.sum(axis=0)).ravel()


def word_table(texts: Sequence[str], labels: npt.ArrayLike) -> WordTable:
    """Words that at least 5 samples hold, with the sentiment of the samples.

    Raises:
        InputError: there are no such words.
    """
    try:
        words = word_counter(texts, FEWEST_SAMPLES).fit_transform(texts)
    except ValueError:
        raise InputError(
            f"--shift word_bias: some word must occur in {FEWEST_SAMPLES} texts, but none does. "
            "Hold out groups instead: held_out:<column>."
        ) from None
    values = np.asarray(labels, np.float64)
    return WordTable(csr_array(words.multiply(1.0 + 1j * (values - values.mean())[:, None])))


@dataclass(eq=False)
class Sides:
    """A split into two sides with its sums, kept exact under exchanges.

    Attributes:
        table: all samples.
        is_second: `(N,)`, True on the second side.
    """

    table: WordTable
    is_second: BoolArray

    def __post_init__(self) -> None:
        self.second: ComplexArray = self.table.held.T @ self.is_second.astype(np.float64)

    @property
    def contrast(self) -> float:
        """D of this split."""
        return float(_terms(self.table.total, self.second).sum() / self._occurrences)

    def gains(self, leaving: IntArray, joining: IntArray) -> FloatArray:
        """What each exchange alone would add to D, `(B,)`.

        Args:
            leaving: `(B,)` samples of the second side.
            joining: `(B,)` samples of the first side that take their places.
        """
        changes = self._changes(leaving, joining)
        total, now = self.table.total[changes.indices], self.second[changes.indices]
        steps = _terms(total, now + changes.data) - _terms(total, now)
        sums = np.concatenate([[0.0], np.cumsum(steps)])[changes.indptr]
        gains: FloatArray = np.diff(sums) / self._occurrences
        return gains

    def exchange(self, leaving: IntArray, joining: IntArray) -> None:
        """Carries exchanges out, all at once; no sample may stand in two of them."""
        self.is_second[leaving], self.is_second[joining] = False, True
        self.second = self.second + np.asarray(self._changes(leaving, joining).sum(axis=0)).ravel()

    @cached_property
    def _occurrences(self) -> float:
        return float(self.table.total.real.sum())

    def _changes(self, leaving: IntArray, joining: IntArray) -> csr_array:
        return self.table.held[joining] - self.table.held[leaving]


def _terms(total: ComplexArray, second: ComplexArray) -> FloatArray:
    """Each word's term of D, not yet divided."""
    terms: FloatArray = total.real * (_association(total - second) - _association(second)) ** 2
    return terms


def _association(side: ComplexArray) -> FloatArray:
    return side.imag / (side.real + SHRINKAGE)
