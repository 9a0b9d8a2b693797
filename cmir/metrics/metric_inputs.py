"""What a metric may be given: finite numbers, one for each sample, and labels that fit them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cmir.errors import InputError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def checked_pair(
    predictions: npt.ArrayLike, labels: npt.ArrayLike, name: str
) -> tuple[FloatArray, FloatArray]:
    """Predictions `(replica, n)` and labels `(n,)` in double precision.

    Args:
        predictions: `(replica, n)`.
        labels: `(n,)`.
        name: what errors call the predictions.

    Raises:
        InputError: empty, of different lengths, or not finite.
    """
    predicted = checked_stack(predictions, name)
    actual = np.asarray(labels, np.float64)
    if actual.shape != predicted.shape[1:]:
        raise InputError(
            f"labels: must be a vector with one entry for each of the {predicted.shape[1]} samples "
            f"of {name}, but got shape {actual.shape}."
        )
    _refuse_nonfinite(actual, "labels", "Remove samples without a label.")
    return predicted, actual


def checked_stack(values: npt.ArrayLike, name: str) -> FloatArray:
    """Values `(replica, n)` in double precision.

    Raises:
        InputError: empty, of another shape, or not finite.
    """
    checked = np.asarray(values, np.float64)
    if checked.ndim != 2:
        raise InputError(
            f"{name}: must be one number for each sample (of each replica), but got shape "
            f"{checked.shape} (replicas first)."
        )
    if checked.size == 0:
        raise InputError(f"{name}: must hold at least one sample, but got {checked.shape=}.")
    _refuse_nonfinite(checked, name, "The model has diverged: lower its learning rate.")
    return checked


def checked_classes(labels: FloatArray) -> BoolArray:
    """Where checked labels, `(n,)` or `(n, C)`, say class 1.

    Raises:
        InputError: a label is neither 0 nor 1.
    """
    positive: BoolArray = labels == 1
    if not (positive | (labels == 0)).all():
        other = labels[~positive & (labels != 0)][0]
        raise InputError(f"labels: must be 0 or 1, but got {other:g}. Recode the classes.")
    return positive


def checked_numbers(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Scores `(replica, n, C)` and numbers of classes `(n,)` in double precision.

    Raises:
        InputError: empty, of different lengths, not finite, or a label that is no number of a
            class.
    """
    logits, actual = _checked_names(scores), np.asarray(labels, np.float64)
    count = logits.shape[-1]
    if actual.shape != logits.shape[1:2]:
        raise InputError(
            f"labels: must be a vector with one entry for each of the {logits.shape[1]} samples of "
            f"scores, but got shape {actual.shape}."
        )
    odd = actual[~np.isin(actual, np.arange(count))]
    if len(odd):
        raise InputError(
            f"labels: must be numbers of classes, 0 to {count - 1}, but got {odd[0]:g}."
        )
    return logits, actual


def checked_labels(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[FloatArray, BoolArray]:
    """Scores `(replica, n, C)` in double precision, and where labels `(n, C)` hold.

    Raises:
        InputError: empty, of different shapes, not finite, or labels other than 0 and 1.
    """
    logits, actual = _checked_names(scores), np.asarray(labels, np.float64)
    if actual.shape != logits.shape[1:]:
        raise InputError(
            f"labels: must have the shape {logits.shape[1:]} of the scores of a replica, but got "
            f"{actual.shape}."
        )
    return logits, checked_classes(actual)


def _checked_names(scores: npt.ArrayLike) -> FloatArray:
    logits = np.asarray(scores, np.float64)
    if logits.ndim != 3 or logits.shape[-1] < 2 or logits.size == 0:
        raise InputError(
            "scores: must be one logit for each name of each sample of each replica, "
            f"(replica, n, C), but got shape {logits.shape}."
        )
    _refuse_nonfinite(logits, "scores", "The model has diverged: lower its learning rate.")
    return logits


def _refuse_nonfinite(values: FloatArray, name: str, remedy: str) -> None:
    wrong = values.size - np.count_nonzero(np.isfinite(values))
    if wrong:
        raise InputError(
            f"{name}: must be finite, but {wrong} of {values.size} are NaN or infinite. {remedy}"
        )
