"""Environments inferred from the mistakes of a reference predictor; both schemes make two."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cmir.method.environments.reference import Reference

IntArray = npt.NDArray[np.int64]

HARD_PART = 0.25


def error_environments(reference: Reference) -> IntArray:
    """What the reference gets wrong (1) against the rest (0) (JTT, Liu et al. 2021).

    Binary: samples on the wrong side of 0. Classes: those whose largest logit is of another class.
    Regression and several labels, which JTT leaves open: the quarter of the samples with the
    largest absolute errors, or losses, of equal ones the earlier. Returns `(n,)`.

    Pitfall: mislabelled and merely noisy samples are mistakes too. In one environment all labels
    contradict the reference, so that equal risks in both are out of reach by construction.
    """
    if reference.task.kind == "binary":
        return np.asarray((reference.scores > 0) != (reference.labels > 0.5), dtype=np.int64)
    if reference.task.kind == "classes":
        return np.asarray(reference.scores.argmax(1) != reference.labels, dtype=np.int64)
    if reference.task.kind == "multilabel":
        return _hardest(reference.losses)
    return _hardest(np.abs(reference.scores - reference.labels))


def _hardest(errors: npt.NDArray[np.float64]) -> IntArray:
    hardest = np.argsort(-errors, kind="stable")[: round(HARD_PART * len(errors))]
    groups = np.zeros(len(errors), dtype=np.int64)
    groups[hardest] = 1
    return groups


def eiil_environments(reference: Reference) -> IntArray:
    """The two environments that the reference violates invariance on most (EIIL, `(n,)`).

    Creager et al. 2021, the inference step with the reference fixed: over q in (0, 1)^n maximise

        (1/n sum_i q_i g_i)^2 + (1/n sum_i (1 - q_i) g_i)^2,
        g_i = d/ds loss(s f(x_i), y_i) at s = 1.

    The published procedure is Adam on the logits of q and a threshold at .5. Here is the exact
    optimum instead: with G = sum g_i and a = sum q_i g_i the objective is (a^2 + (G - a)^2) / n^2,
    convex in a, so that it is largest at an end of a's range: q_i = 1 where g_i > 0 and 0
    elsewhere, or the reverse, which has the same value and only exchanges the names. A sample with
    g_i = 0 makes no difference; it goes with 0.

    Pitfalls: in a binary task g_i > 0 says that the sample is on the wrong side of 0, so that this
    is `error` of the same reference; of several classes g_i > 0 says that a larger scale of the
    logits would raise its loss, which a sample decided rightly, but not surely enough, may do too.
    In regression it parts the samples whose prediction is too
    far from 0 from those whose prediction is too near to it (or on the other side), so that it
    depends on where the label has its zero. The weights are not normalised by the sizes of the
    environments, as in the authors' code; with normalised ones the optimum would tend to
    a tiny environment of extreme g_i.
    """
    return (reference.scale_gradients > 0).astype(np.int64)
