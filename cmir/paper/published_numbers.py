"""What the paper reports on its six data sets, to stand beside what is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cmir.errors import InputError
from cmir.sweep.preparation import SYNTHETIC


@dataclass(frozen=True)
class Published:
    """One score of the paper's tables.

    Attributes:
        column: head of its column there.
        metric: its name here.
        value: as printed; an accuracy or F1 in per cent.
        digits: behind the point, of a value in per cent.
    """

    column: str
    metric: str
    value: float
    digits: int = 1

    @property
    def is_percent(self) -> bool:
        """Whether it is printed in per cent."""
        return self.metric not in ("mae", "corr")

    def shown(self, score: float) -> str:
        """A score as printed in the paper; scores here are shares, those of the paper per cent."""
        return f"{100 * score:.{self.digits}f}" if self.is_percent else f"{score:.3f}"

    @property
    def printed(self) -> str:
        """The published value."""
        return self.shown(self.value / 100 if self.is_percent else self.value)


@dataclass(frozen=True)
class PaperRow:
    """One data set's row.

    Attributes:
        title: of the data set.
        split: of ours that holds its test samples.
        scores: published, in the paper's order.
        sizes: features of each modality there.
        learning_rate: of Table 7, with which the language model was fine-tuned.
    """

    title: str
    split: str
    scores: tuple[Published, ...]
    sizes: Mapping[str, int]
    learning_rate: float


def _mosi_scores(*values: float) -> tuple[Published, ...]:
    columns = ("Acc7", "Acc2", "F1", "MAE", "Corr")
    metrics = ("acc7", "acc2_non0", "f1_non0", "mae", "corr")
    return tuple(Published(*parts) for parts in zip(columns, metrics, values, strict=True))


# Ends the name of a sweep in the paper's own setting, with a language model in training.
LANGUAGE = "_language"
HUMOUR = {"text": 768, "audio": 60, "vision": 36, "humour": 4}

# Mai and Han 2026, by the name of the sweep file.
PAPER: Mapping[str, PaperRow] = {
    "paper_mosi": PaperRow(
        "CMU-MOSI",
        "id_test",
        _mosi_scores(49.8, 89.6, 89.5, 0.616, 0.853),
        {"text": 768, "audio": 74, "vision": 47},
        1e-5,
    ),
    "paper_mosei": PaperRow(
        "CMU-MOSEI",
        "id_test",
        _mosi_scores(55.1, 87.8, 87.7, 0.513, 0.793),
        {"text": 768, "audio": 74, "vision": 35},
        1e-5,
    ),
    "paper_mosi_ood": PaperRow(
        "CMU-MOSI (OOD)",
        "ood_test",
        (
            Published("Acc7", "acc7", 48.5),
            Published("Acc2", "acc2_non0", 84.4),
            Published("Acc2 with neutral", "acc2_has0", 83.0),
        ),
        {"text": 768, "audio": 74, "vision": 47},
        1e-5,
    ),
    "paper_sims_v2": PaperRow(
        "CH-SIMS v2",
        "id_test",
        (
            Published("Acc5", "acc5", 56.0),
            Published("Acc3", "acc3", 75.0),
            Published("Acc2", "acc2", 81.9),
            Published("F1", "f1", 82.0),
            Published("MAE", "mae", 0.286),
            Published("Corr", "corr", 0.742),
        ),
        {"text": 768, "audio": 25, "vision": 177},
        5e-4,
    ),
    "paper_ur_funny": PaperRow(
        "UR-FUNNY", "id_test", (Published("Accuracy", "accuracy", 76.46, 2),), HUMOUR, 7e-6
    ),
    "paper_mustard": PaperRow(
        "MUStARD", "id_test", (Published("Accuracy", "accuracy", 80.00, 2),), HUMOUR, 2e-5
    ),
}


def paper_row(name: str) -> PaperRow:
    """The row of a sweep file's name, also with a language model, or on its synthetic stand-in.

    Raises:
        InputError: the paper has no such row.
    """
    known = name.removesuffix(SYNTHETIC).removesuffix(LANGUAGE)
    if known not in PAPER:
        raise InputError(
            f"'{name}': the paper reports on {', '.join(PAPER)}. Use a file of "
            "search_spaces/paper, or keep its name."
        )
    return PAPER[known]
