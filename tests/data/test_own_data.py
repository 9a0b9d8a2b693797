"""What `docs/own_data.md` says, done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow  # type: ignore[import-untyped]
import pytest
import torch

from cmir.data import load_dataset, write_dataset
from cmir.errors import InputError

COUNT = 30
COLUMNS: dict[str, Any] = {
    "id": [f"s{index}" for index in range(COUNT)],
    "split": ["train"] * 14 + ["id_val"] * 8 + ["ood_val"] * 8,
    "label": np.linspace(-3, 3, COUNT).tolist(),
    "speaker": [f"p{index // 5}" for index in range(COUNT)],
    "text_length": [4] * COUNT,
}
TEXT = np.random.default_rng(0).normal(size=(COUNT, 4, 5)).astype(np.float32)


@pytest.mark.parametrize("kind", ["polars", "pandas", "arrow", "dict"])
def test_any_table_and_any_array_become_a_data_set(kind: str, tmp_path: Path) -> None:
    table: Any = pl.DataFrame(COLUMNS)
    if kind == "pandas":
        table = table.to_pandas()
    elif kind == "arrow":
        table = pyarrow.table(COLUMNS)
    elif kind == "dict":
        table = COLUMNS
    features = {"text": torch.from_numpy(TEXT), "audio": TEXT[:, 0]}
    path = tmp_path / "mine"
    write_dataset(path, table, features, task="regression", label_range=(-3.0, 3.0))
    data = load_dataset(path)
    assert (data.name, data.sizes["train"]) == ("mine", 14)
    np.testing.assert_array_equal(data.modalities["text"].array, TEXT)
    assert data.development().environment_columns == ("speaker",)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine: samples must be a table of polars, .* got object"):
        write_dataset(tmp_path / "mine", object(), {"text": TEXT}, task="regression")
