"""The reference predictor: a linear model whose mistakes in training define environments.

Partitions that are inferred from mistakes need one, and a diagnosis says how hard each environment
is for it. It is meant to be biased: it takes whatever predicts the label, spurious or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from cmir.data import DevelopmentData
from cmir.data.task import Task
from cmir.errors import InputError
from cmir.method.networks.features import pooled_features
from cmir.metrics.named_metrics import class_item_values, label_item_values

# scikit-learn is imported where a predictor is trained: half a second that workers, who find its
# scores in the cache, need not spend.
if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.model_selection import BaseCrossValidator

FloatArray = npt.NDArray[np.float64]

FOLDS = 5
# A strength acts like a prior and does not grow with the data: so many samples choose it.
ENOUGH = 4000
RIDGE_STRENGTHS = np.logspace(0, 5, 11)
IMPOSSIBLE = 20.0
LOGISTIC_STRENGTHS = np.logspace(-4, 0, 5)


@dataclass(frozen=True, eq=False)
class Reference:
    """Out-of-fold scores of the reference predictor on the training samples.

    Attributes:
        scores: `(n,)`, in the units of the label (regression) or logits (binary); with names their
            logits `(n, C)`.
        labels: `(n,)`; of several at once `(n, C)`.
        task: decides the loss: squared error, or the cross-entropy.
    """

    scores: FloatArray
    labels: FloatArray
    task: Task

    @property
    def losses(self) -> FloatArray:
        """`(n,)`: (f - y)^2, or the cross-entropy, of several labels their mean."""
        if self.task.is_named:
            values = class_item_values if self.task.kind == "classes" else label_item_values
            found = values(self.scores[None], self.labels, "log_loss")
            assert found is not None
            return np.asarray(found[0])
        if self.task.kind == "binary":
            return np.asarray(np.logaddexp(0.0, self.scores) - self.labels * self.scores)
        return np.square(self.scores - self.labels)

    @property
    def scale_gradients(self) -> FloatArray:
        """`(n,)`: d/ds loss(s f, y) at s = 1 (Arjovsky et al. 2019, IRMv1).

        It is 2 (f - y) f for the squared error and (sigmoid(f) - y) f for the cross-entropy, with
        names sum_c (p_c - y_c) f_c or the mean over labels. The squared mean over an environment is
        that environment's IRM penalty.
        """
        if self.task.kind == "classes":
            targets = np.eye(len(self.task.names))[self.labels.astype(np.int64)]
            return np.asarray(((softmax(self.scores, axis=1) - targets) * self.scores).sum(1))
        if self.task.kind == "multilabel":
            return np.asarray(((expit(self.scores) - self.labels) * self.scores).mean(1))
        if self.task.kind == "binary":
            return np.asarray((expit(self.scores) - self.labels) * self.scores)
        return 2 * (self.scores - self.labels) * self.scores

    @property
    def label_values(self) -> FloatArray:
        """`(n,)`, one number for each sample whose mean tells what labels a group has.

        The label; whether it is the most frequent class; how many of several hold.
        """
        if self.task.kind == "classes":
            return np.asarray(
                self.labels == np.bincount(self.labels.astype(np.int64)).argmax(), float
            )
        return self.labels.sum(1) if self.task.kind == "multilabel" else self.labels


def train_reference(data: DevelopmentData, seed: int = 0) -> Reference:
    """Scores every training sample by a linear model that has not seen it.

    Ridge or logistic regression, of several labels one for each, on the standardised time means of
    all modalities. The strength of the regularisation is chosen once, on at most 4000 samples of
    the training split (one number leaks nothing worth mentioning); the scores are out of fold, so
    that overfitting does not hide mistakes. Folds are drawn over samples, not over speakers: what
    holds for the known speakers alone stays usable, as it is to a network in training.

    Raises:
        InputError: fewer training samples than folds, of each class where there are classes.
    """
    labels = data.train.labels.astype(np.float64)
    _check_folds(data, labels)
    features = pooled_features(data, data.train.rows).astype(np.float64)
    if data.task.kind == "multilabel":
        columns = [_out_of_fold(features, column, True, seed) for column in labels.T]
        return Reference(np.stack(columns, axis=1), labels, data.task)
    scores = _out_of_fold(features, labels, data.task.kind != "regression", seed)
    if data.task.kind == "classes":
        scores = _of_every_class(scores, np.unique(labels).astype(np.int64), len(data.task.names))
    return Reference(scores, labels, data.task)


def _out_of_fold(features: FloatArray, labels: FloatArray, is_class: bool, seed: int) -> FloatArray:
    """Scores `(n,)`; of more than two classes `(n, classes)`."""
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict

    if is_class:
        model, folds, method = (
            _logistic(features, labels, seed),
            StratifiedKFold,
            "decision_function",
        )
    else:
        model, folds, method = _ridge(features, labels, seed), KFold, "predict"
    splitter: BaseCrossValidator = folds(FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, features, labels, cv=splitter, method=method)
    return np.asarray(scores, dtype=np.float64)


def _of_every_class(scores: FloatArray, present: npt.NDArray[np.int64], count: int) -> FloatArray:
    """Logits `(n, C)`; a class that training does not have is next to impossible."""
    if scores.ndim == 1:
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    every = np.full((len(scores), count), scores.min() - IMPOSSIBLE)
    every[:, present] = scores
    return every


def _ridge(features: FloatArray, labels: FloatArray, seed: int) -> BaseEstimator:
    """Ridge of the strength with the least leave-one-out error."""
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = _enough(features, labels, None, seed)
    standard = StandardScaler().fit_transform(features)
    chosen = RidgeCV(RIDGE_STRENGTHS).fit(standard, labels).alpha_
    return make_pipeline(StandardScaler(), Ridge(chosen))


def _logistic(features: FloatArray, labels: FloatArray, seed: int) -> BaseEstimator:
    """Logistic regression of the strength with the least cross-validated log loss.

    From the strongest regularisation on, until the loss rises: it has one minimum, and the weakest
    ones take most of the time (minutes with 7 classes and 1,242 features).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = _enough(features, labels, labels, seed)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    best, least = None, np.inf
    for strength in LOGISTIC_STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        scored = cross_val_score(model, features, labels, scoring="neg_log_loss", cv=folds)
        if -scored.mean() >= least:
            break
        best, least = model, -scored.mean()
    assert best is not None
    return best


def _enough(
    features: FloatArray, labels: FloatArray, classes: FloatArray | None, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Features and labels of at most 4000 samples; of each class its share, where classes are."""
    from sklearn.utils import resample

    if len(labels) <= ENOUGH:
        return features, labels
    few = {"replace": False, "n_samples": ENOUGH, "stratify": classes, "random_state": seed}
    chosen, known = resample(features, labels, **few)
    return chosen, known


def _check_folds(data: DevelopmentData, labels: FloatArray) -> None:
    classes, what = [len(labels)], "training samples"
    if data.task.kind == "multilabel":
        held = labels.sum(axis=0)
        classes, what = [*held, *(len(labels) - held)], f"{what} with each label, and without,"
    elif data.task.kind != "regression":
        classes = list(np.unique(labels, return_counts=True)[1])
        what = f"{what} of each class"
    if min(classes) < FOLDS:
        raise InputError(
            f"environments.partition: the reference predictor needs at least {FOLDS} {what}, but "
            f"'{data.name}' has {min(classes):g}. Add samples, or set the partition to none."
        )
