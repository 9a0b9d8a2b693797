"""The paper's protocol on small files, without Ray: the study's own functions, real training."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
from mlflow import MlflowClient

from cmir.data import load_dataset, write_dataset
from cmir.data.preparing import prepare
from cmir.method.training.fitting import fit
from cmir.paper.protocol import Reproduction, reproduce
from cmir.promotion.promotion_plan import PromotionRequest, plan_promotion
from cmir.promotion.trainings import LocalTrainings
from cmir.runner.paths import Paths
from cmir.runner.studies.storage import journal_storage
from cmir.runner.studies.study import open_study
from cmir.space.search_space import checked_space
from cmir.space.space_file import SweepFile, read_sweep_file
from cmir.space.space_source import SpaceSource
from tests.support.made_data.paper_files import write_source
from tests.support.small_promotion import ending_of

FOLDER = Path(__file__).resolve().parents[2] / "search_spaces" / "paper"


def shipped(name: str) -> SweepFile:
    return read_sweep_file(FOLDER / f"{name}.yaml")


def header_command(name: str) -> list[str]:
    """Reader, source and further words of the command under `Data:` in the file's header."""
    text = (FOLDER / f"{name}.yaml").read_text()
    match = re.search(r"# Data: +python workflows/prepare\.py (.*) \\\n#  +(--shift \S+)", text)
    assert match
    return [*match.group(1).split(), *match.group(2).split()]


def with_text(words: Path, out: Path) -> Path:
    """The data set with vectors of its words, as a language model would add them."""
    dataset = load_dataset(words)
    table = pl.read_parquet(words / "samples.parquet")
    text = np.random.default_rng(3).normal(size=(table.height, 2, 768)).astype(np.float16)
    features = {name: np.array(part.array) for name, part in dataset.modalities.items()}
    return write_dataset(
        out,
        samples=table.with_columns(text_length=pl.lit(2)),
        features=features | {"text": text},
        task=dataset.task,
        name=out.name,
        source={},
        shift={},
    )


def swept(name: str, folder: Path, trials: int = 2) -> None:
    """A space swept on its small file, as its header says, without Ray; one epoch a trial."""
    reader, _, out, _, shift = header_command(name)
    data_path = prepare(write_source(name, folder), folder / out, reader=reader, shift=shift)
    if out.endswith("_words"):
        out = out.removesuffix("_words")
        data_path = with_text(data_path, folder / out)
    changes = {"epochs": 1, "trials": trials}
    file = shipped(name).model_copy(update=changes)
    assert file.data.path == out
    data = load_dataset(data_path).development()
    space = checked_space(file, name, tuple(data.modalities))
    facts = {
        "data_checksum": data.checksum,
        "dataset": str(data_path),
        "space_name": file.name,
        "gates": file.gates.model_dump(mode="json"),
    }
    journal = journal_storage(Paths(folder).journal(file.name))
    study = open_study(journal, file.name, SpaceSource(space), facts)
    for _ in range(trials):
        asked = study.ask()
        *_, last = fit(data, asked.config)
        assert last.result is not None
        study.tell(asked.number, ending_of(last.result))


def followed(client: MlflowClient, seeds: int = 2) -> Reproduction:
    plan = plan_promotion(PromotionRequest(rule="id_val", top=1, seeds=seeds), Paths())
    return reproduce(plan, client, LocalTrainings(plan.data))
