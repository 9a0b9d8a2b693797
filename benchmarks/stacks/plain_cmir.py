"""CmIR as the reader of a tutorial would write it: torch.nn modules, one seed, no replica axis.

It shares no code with `cmir`: the comparison trains it in place of `cmir.learning`, and a test
holds the two against each other. Equations are those of Mai and Han 2026, in the forms of
`loss.reduction`; the other settings that are not in `KNOWN` are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import combinations, pairwise
from typing import Any

import torch
from torch import Tensor, nn

Config = Mapping[str, Any]
Vectors = dict[str, Tensor]
Perturb = Callable[[Vectors, Config], Vectors]

DEFAULT_RATE = {"noise": 1.0, "erase": 0.5, "swap": 0.5}
KNOWN = (
    *("environments.view", "environments.count", "environments.strength", "environments.rate"),
    *("environments.partition", "environments.groups", "loss.prediction", "loss.reduction"),
    *("loss.prediction_views", "loss.invariance", "loss.mutual_information"),
    *("loss.off_diagonal", "loss.reconstruction", "loss.penalty_weight"),
    *("model.representation_size", "model.hidden_size", "training.batch_size"),
    *("training.learning_rate", "training.weight_decay", "training.gradient_clip"),
    "training.patience",
)


def check(config: Config) -> None:
    """Refuses a setting that this network would silently ignore."""
    unknown = [key for key in config if ".".join(key.split(".")[:2]) not in KNOWN]
    if unknown:
        raise ValueError(f"the plain network does not know {', '.join(unknown)}")


class Encoder(nn.Module):
    """g_m: one unimodal vector to its invariant and its spurious part."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.invariant = nn.Linear(hidden, size)
        self.spurious = nn.Linear(hidden, size)


class PlainCmir(nn.Module):
    """Unimodal networks, encoders, decoders and the predictor."""

    def __init__(
        self, sizes: Mapping[str, int], pooled: Collection[str], size: int, hidden: int
    ) -> None:
        """`sizes` are those of the features; a pooled modality gets a single linear layer."""
        super().__init__()
        self.unimodal = nn.ModuleDict(
            {
                name: nn.Linear(inputs, size) if name in pooled else _mlp(inputs, hidden, size)
                for name, inputs in sizes.items()
            }
        )
        self.encoders = nn.ModuleDict({name: Encoder(size, hidden) for name in sizes})
        self.decoders = nn.ModuleDict(
            {name: _mlp(2 * size, hidden, hidden, size) for name in sizes}
        )
        self.predictor = _mlp(len(sizes) * size, hidden, hidden, 1)

    def vectors(self, inputs: Mapping[str, Tensor]) -> Vectors:
        """X_m of each modality, `(batch, d)`."""
        return {name: network(inputs[name]) for name, network in self.unimodal.items()}

    def invariant(self, vectors: Vectors) -> Vectors:
        """Z_inv of each modality, of the shape of its input."""
        return {
            name: self._encoder(name).invariant(self._body(name, x)) for name, x in vectors.items()
        }

    def predict(self, invariant: Vectors) -> Tensor:
        """The predictor on all invariant parts side by side, `(..., batch)`."""
        scores: Tensor = self.predictor(torch.cat(list(invariant.values()), dim=-1))
        return scores.squeeze(-1)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Predictions `(batch,)`, nothing perturbed."""
        return self.predict(self.invariant(self.vectors(inputs)))

    def parts(self, name: str, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Z_inv and Z_spu of one modality, `(batch, d)` each."""
        body, encoder = self._body(name, vector), self._encoder(name)
        return encoder.invariant(body), encoder.spurious(body)

    def reconstruct(self, name: str, invariant: Tensor, spurious: Tensor) -> Tensor:
        """r_m on both parts, `(batch, d)`."""
        rebuilt: Tensor = self.decoders[name](torch.cat([invariant, spurious], dim=-1))
        return rebuilt

    def _encoder(self, name: str) -> Encoder:
        encoder = self.encoders[name]
        assert isinstance(encoder, Encoder)
        return encoder

    def _body(self, name: str, vector: Tensor) -> Tensor:
        hidden: Tensor = self._encoder(name).body(vector)
        return hidden


def perturb(vectors: Vectors, config: Config) -> Vectors:
    """The K views of each modality, `(K, batch, d)`, each modality with its own rate."""
    scheme = SCHEMES[config["environments.view"]]
    return {
        name: scheme(x, view_count(config), rate_of(config, name)) for name, x in vectors.items()
    }


def noise(vector: Tensor, count: int, rate: float) -> Tensor:
    """Eq. 3: X + alpha_1 * e * rate * eps for e = 1..K, `rate` standing for alpha_1 * rate."""
    return torch.stack([vector + rate * e * torch.randn_like(vector) for e in range(1, count + 1)])


def erase(vector: Tensor, count: int, rate: float) -> Tensor:
    """Zero with probability `rate * e / K` in view e."""
    return torch.stack([vector * ~chosen[:, None] for chosen in _draws(vector, count, rate)])


def swap(vector: Tensor, count: int, rate: float) -> Tensor:
    """Another sample's vector with probability `rate * e / K` in view e."""
    batch = len(vector)
    own = torch.arange(batch)
    views = []
    for chosen in _draws(vector, count, rate):
        other = (own + torch.randint(1, batch, (batch,))) % batch
        views.append(vector[torch.where(chosen, other, own)])
    return torch.stack(views)


SCHEMES: dict[str, Callable[[Tensor, int, float], Tensor]] = {
    "noise": noise,
    "erase": erase,
    "swap": swap,
}


def view_count(config: Config) -> int:
    """K, 0 without views."""
    if config["environments.view"] == "none":
        return 0
    return int(config.get("environments.count", 4))


def rate_of(config: Config, modality: str) -> float:
    """The rate of one modality; for noise times alpha_1."""
    view = config["environments.view"]
    rate = float(config.get(f"environments.rate.{modality}", DEFAULT_RATE[view]))
    return rate * float(config.get("environments.strength", 0.1)) if view == "noise" else rate


def loss_terms(
    model: PlainCmir,
    inputs: Mapping[str, Tensor],
    labels: Tensor,
    groups: Tensor,
    config: Config,
    perturb: Perturb = perturb,
) -> dict[str, Tensor]:
    """The unweighted terms of Eq. 9 and the risk variance, one number each."""
    vectors = model.vectors(inputs)
    both = {name: model.parts(name, vector) for name, vector in vectors.items()}
    invariant = {name: parts[0] for name, parts in both.items()}
    errors = prediction_errors(model.predict(invariant), labels, config)
    averaged = config["loss.reduction"] == "mean"
    terms: dict[str, Tensor] = {}
    if view_count(config):
        views = model.invariant(perturb(vectors, config))
        if config["loss.prediction_views"] == "all":
            noisy = prediction_errors(model.predict(views), labels, config)
            errors = torch.cat([errors[None], noisy]).mean(0)
        terms["invariance"] = _sum(invariance(invariant[m], views[m], averaged) for m in views)
    alpha = float(config["loss.off_diagonal"])
    terms["mutual_information"] = _sum(
        decorrelation(*parts, alpha, averaged) for parts in both.values()
    )
    terms["reconstruction"] = _sum(
        reconstruction(vectors[name], model.reconstruct(name, *parts), averaged)
        for name, parts in both.items()
    )
    if config["environments.partition"] != "none" and float(config["loss.penalty_weight"]) > 0:
        terms["penalty"] = risk_variance(errors, groups)
    return {"prediction": errors.mean(), **terms}


def prediction_errors(scores: Tensor, labels: Tensor, config: Config) -> Tensor:
    """Eq. 2 for a regression: the error of each sample, not averaged."""
    difference = scores - labels
    return difference.abs() if config["loss.prediction"] == "mae" else difference.square()


def invariance(clean: Tensor, views: Tensor, averaged: bool) -> Tensor:
    """Eq. 4: L1 distance of all pairs among the clean copy `(batch, d)` and `(K, batch, d)`."""
    pairs = [(a - b).abs() for a, b in combinations([clean, *views], 2)]
    distances = torch.stack([pair.mean() if averaged else pair.sum(1).mean() for pair in pairs])
    return distances.mean() if averaged else distances.sum()


def decorrelation(invariant: Tensor, spurious: Tensor, alpha: float, averaged: bool) -> Tensor:
    """Eq. 5-6 on `(batch, d)`, each sample's vector normalised."""
    similarity = _normal(invariant) @ _normal(spurious).T
    if averaged:
        similarity = similarity / invariant.shape[1]
    diagonal = torch.eye(len(similarity))
    squares = (similarity * (diagonal + alpha * (1 - diagonal))).square()
    return (squares.mean() if averaged else squares.sum()).sqrt()


def reconstruction(vector: Tensor, rebuilt: Tensor, averaged: bool) -> Tensor:
    """Eq. 8 on `(batch, d)`."""
    squares = (vector - rebuilt).square()
    return squares.mean() if averaged else squares.sum(1).mean()


def risk_variance(errors: Tensor, groups: Tensor) -> Tensor:
    """Variance over the environments of a batch of their mean errors (V-REx)."""
    risks = torch.stack([errors[groups == group].mean() for group in torch.unique(groups)])
    return risks.var(unbiased=False)


def total_loss(terms: Mapping[str, Tensor], config: Config) -> Tensor:
    """Eq. 9 with the risk variance, divided by the latter's weight where that is above 1."""
    total = terms["prediction"]
    for name in ("invariance", "mutual_information", "reconstruction"):
        if name in terms:
            total = total + float(config[f"loss.{name}"]) * terms[name]
    if "penalty" in terms:
        beta = float(config["loss.penalty_weight"])
        total = (total + beta * terms["penalty"]) / max(1.0, beta)
    return total


def _mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(sizes[0], sizes[1])]
    for inputs, outputs in pairwise(sizes[1:]):
        layers += [nn.ReLU(), nn.Linear(inputs, outputs)]
    return nn.Sequential(*layers)


def _sum(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum()


def _draws(vector: Tensor, count: int, rate: float) -> list[Tensor]:
    return [torch.rand(len(vector)) < rate * e / count for e in range(1, count + 1)]


def _normal(values: Tensor) -> Tensor:
    centred = values - values.mean(1, keepdim=True)
    return centred / values.std(1, unbiased=False, keepdim=True).clamp(min=1e-6)
