"""Whether invariant and spurious part recover the causal factors, on data where these are known.

In the observed data the label causes the spurious latents s, so that s can be guessed from the
causal latents z: a probe of s would find it in a part that holds nothing but z. All probes of
latents are therefore fitted and scored on the data after do(s), s exchanged among the samples of
one environment and split, where z and s are independent and the features are as they would be.

The environment is independent of z, so no such guessing is possible, and it is probed in the
observed data: its mark is the link between s and the label, which do(s) cuts. In the synthetic
data environments differ in nothing but this link. Neither z nor s alone tells much of it (s by its
spread only), and no linear map of both does: the column is near zero for every good encoder, and
a large value says that a part has put the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmir.data import DevelopmentData
from cmir.data.synthetic.interventions import KnownData, Truth, intervened, observed
from cmir.data.synthetic.structural_model import LatentKind
from cmir.evaluation.probes.linear_probes import BySeed, by_seed, explained
from cmir.evaluation.probes.representations import Encoder
from cmir.method.networks.features import pooled_features

Matrix = Mapping[str, Mapping[str, BySeed]]

Target = Callable[[Truth], np.ndarray]

LATENTS: Mapping[str, Target] = {
    "causal": lambda truth: truth.causal,
    "cause": lambda truth: truth.cause,
    "spurious": lambda truth: truth.spurious,
    "cue": lambda truth: truth.cue,
}
VALIDATION = ("id_val", "ood_val")
# Roles are called swapped only if both differences are clearly more than noise.
SWAP_MARGIN = 0.05


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What a model's parts hold and what its predictions follow, one value per seed each.

    Attributes:
        matrix: part (`invariant`, `spurious`, `both`) -> target -> R^2 `(seed,)`. Targets are
            `causal` and `spurious`, all latents of a kind; `cause` and `cue`, their one direction
            that is linked with the label; and `environment`.
        inputs: target -> R^2 of the same probe on the model's input features.
        moved: `causal` or `spurious` -> root mean square change of the predictions when only these
            latents are exchanged, in standard deviations of the predictions: 0 where predictions
            do not depend on them, about 1.4 where they depend on nothing else.
    """

    matrix: Matrix
    inputs: Mapping[str, float]
    moved: Mapping[LatentKind, BySeed]

    @property
    def swapped(self) -> np.ndarray:
        """Seeds `(seed,)` whose parts have changed roles: Z_spu is the causal part, Z_inv not."""
        inside, outside = self.matrix["invariant"], self.matrix["spurious"]
        more_causal = outside["causal"] - inside["causal"] > SWAP_MARGIN
        less_spurious = inside["spurious"] - outside["spurious"] > SWAP_MARGIN
        return np.asarray(more_causal & less_spurious)


def ground_truth(model: Encoder, data: DevelopmentData, fit_on: np.ndarray) -> GroundTruth:
    """Probes a model on the data it was trained on, which must have ground truth.

    Args:
        model: a `TrainedModel`, or whatever encodes.
        data: from `cmir.data.synthetic.generate`; its validation splits are scored.
        fit_on: positions in the training split that probes are fitted on.

    Raises:
        InputError: the data has no ground truth.
    """
    seen, cut = observed(data), intervened(data, "spurious")
    # An unknown environment has no class of its own in training, hence not ood_val.
    latents = _probed(model, cut, LATENTS, fit_on, VALIDATION)
    environment = _probed(model, seen, {"environment": _indicators(seen)}, fit_on, ("id_val",))
    every = {part: {**latents[part], **environment[part]} for part in latents}
    inputs = {target: float(value[0]) for target, value in every.pop("inputs").items()}
    moved: dict[LatentKind, BySeed] = {
        "causal": _moved(model, data, intervened(data, "causal").data),
        "spurious": _moved(model, data, cut.data),
    }
    return GroundTruth(every, inputs, moved)


def _probed(
    model: Encoder,
    known: KnownData,
    targets: Mapping[str, Target],
    fit_on: np.ndarray,
    splits: Sequence[str],
) -> dict[str, dict[str, BySeed]]:
    """R^2 by part, the inputs among them, and target: fitted on training rows, scored on splits."""
    fitted = _seen_by_probes(model, known.data, known.data.train.rows[fit_on])
    held_rows = np.concatenate([known.data.splits[name].rows for name in splits])
    held = _seen_by_probes(model, known.data, held_rows)
    wanted = {name: of(known.truth["train"])[fit_on] for name, of in targets.items()}
    held_wanted = {
        name: np.concatenate([of(known.truth[split]) for split in splits])
        for name, of in targets.items()
    }
    return {
        part: by_seed(
            [
                explained(train, wanted, test, held_wanted)
                for train, test in zip(fitted[part], held[part], strict=True)
            ]
        )
        for part in fitted
    }


def _seen_by_probes(
    model: Encoder, data: DevelopmentData, rows: np.ndarray
) -> dict[str, np.ndarray]:
    """The parts `(seed, n, ...)` by name, and the inputs as of one seed."""
    parts = model.parts(data, rows)
    return {**parts.by_name, "inputs": pooled_features(data, rows)[None]}


def _indicators(known: KnownData) -> Target:
    """One column for each training environment, 1 where a sample belongs to it."""
    numbers = np.unique(known.truth["train"].environment)
    return lambda truth: (truth.environment[:, None] == numbers).astype(float)


def flat_scores(scores: np.ndarray) -> np.ndarray:
    """Scores `(seed, n)`; with names `(seed, n C)`, less what all names of a sample share."""
    values = scores.astype(float)
    if values.ndim == 2:
        return values
    own = values - values.mean(axis=-1, keepdims=True)
    return np.asarray(own.reshape(len(values), -1))


def _moved(model: Encoder, before: DevelopmentData, after: DevelopmentData) -> BySeed:
    rows = np.concatenate([before.splits[name].rows for name in VALIDATION])
    first, second = (flat_scores(model.predictions(data, rows)) for data in (before, after))
    change = np.sqrt(np.square(second - first).mean(axis=1))
    spread = first.std(axis=1)
    return np.asarray(change / np.where(spread > 0, spread, np.inf))
