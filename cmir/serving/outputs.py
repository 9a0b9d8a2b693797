"""From the scores of the seeds to what is served: their average, and columns with names."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.task import Task, TaskKind

Scores = npt.NDArray[np.float64]

# What is above one half is said to hold.
HALF = 0.5
SEPARATOR = ", "


def averaged(scores: Scores, task: Task, temperature: float = 1.0) -> Scores:
    """The scores `(1, n)` of what is served, from those of the seeds `(seed, n)`.

    Of a task with classes or labels the probabilities are averaged, and the logits of their mean
    are returned: of a binary task that of class 1, with names `(1, n, C)`.

    Args:
        scores: of the seeds.
        task: what they are scores of.
        temperature: that divides the logits of names.
    """
    if task.kind == "regression":
        mean: Scores = scores.mean(axis=0, keepdims=True)
        return mean
    limit = np.finfo(np.float64).eps
    chances = chances_of(scores / temperature if task.is_named else scores, task.kind)
    probability = chances.mean(axis=0, keepdims=True).clip(limit, 1 - limit)
    if task.kind == "classes":
        logs: Scores = np.log(probability)
        return logs
    logits: Scores = np.log(probability) - np.log1p(-probability)
    return logits


def chances_of(scores: Scores, kind: TaskKind) -> Scores:
    """Probabilities of logits: softmax over the last axis of classes, else sigmoids."""
    if kind != "classes":
        return sigmoid(scores)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: Scores = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def named_columns(chances: Scores, task: Task) -> dict[str, npt.NDArray[Any]]:
    """What is served of the seeds' probabilities `(seed, n, C)`: a name, and each name's chance.

    Example:
        >>> task = Task("classes", names=("calm", "angry"))
        >>> columns = named_columns(np.array([[[0.2, 0.8]]]), task)
        >>> columns["prediction"].tolist(), columns["probability_angry"].tolist()
        (['angry'], [0.8])
    """
    mean, deviation = chances.mean(axis=0), spread(chances)
    columns: dict[str, npt.NDArray[Any]] = {"prediction": decided_names(mean, task)}
    for number, name in enumerate(task.names):
        columns[f"probability_{name}"] = mean[:, number]
        columns[f"std_{name}"] = deviation[:, number]
    return columns


def decided_names(chances: Scores, task: Task) -> npt.NDArray[np.str_]:
    """The name of each sample's largest probability, or of several labels all above one half."""
    names = np.array(task.names)
    if task.kind == "classes":
        return np.asarray(names[chances.argmax(axis=1)], np.str_)
    return np.array([SEPARATOR.join(names[row >= HALF]) for row in chances], dtype=np.str_)


def sigmoid(logits: Scores) -> Scores:
    """Without overflow."""
    return 0.5 * (1 + np.tanh(logits / 2))


def spread(votes: Scores) -> Scores:
    """Sample deviation over the seeds; 0 of one seed."""
    if len(votes) == 1:
        return np.zeros(votes.shape[1:])
    found: Scores = votes.std(axis=0, ddof=1)
    return found
