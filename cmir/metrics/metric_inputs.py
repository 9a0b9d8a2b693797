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
    """Where checked labels `(n,)` say class 1.

    Raises:
        InputError: a label is neither 0 nor 1.
    """
    positive: BoolArray = labels == 1
    if not (positive | (labels == 0)).all():
        other = labels[~positive & (labels != 0)][0]
        raise InputError(f"labels: must be 0 or 1, but got {other:g}. Recode the classes.")
    return positive


def _refuse_nonfinite(values: FloatArray, name: str, remedy: str) -> None:
    wrong = values.size - np.count_nonzero(np.isfinite(values))
    if wrong:
        raise InputError(
            f"{name}: must be finite, but {wrong} of {values.size} are NaN or infinite. {remedy}"
        )
