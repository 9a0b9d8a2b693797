"""What `docs/own_data.md` says, done."""

from __future__ import annotations

from collections.abc import Sequence
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
SPLITS = ("train", "id_val", "ood_val")
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


class HubRows:
    """What `datasets.Dataset` offers: rows of an Arrow table, chosen and ordered by numbers."""

    def __init__(self, columns: dict[str, Any], rows: np.ndarray) -> None:
        self._table, self._rows = pyarrow.table(columns), rows

    def with_format(self, kind: str) -> HubRows:
        assert kind == "arrow"
        return self

    def __getitem__(self, rows: slice) -> Any:
        return self._table.take(self._rows[rows])


class HubColumn(Sequence[Any]):
    """What a column of it is: a sequence that is read when it is asked."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, rows: Any) -> Any:
        return self._values[rows]


def write_hub(path: Path, samples: Any, text: Any) -> None:
    features = {"text": text}
    write_dataset(path, samples, features, task="regression", label_range=(-3.0, 3.0))


def test_rows_of_a_hub_data_set_keep_their_chosen_order(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(COUNT)
    write_hub(tmp_path / "mine", HubRows(COLUMNS, order), HubColumn(TEXT[order]))
    data = load_dataset(tmp_path / "mine")
    assert data.metadata["id"].to_list() == [COLUMNS["id"][row] for row in order]
    np.testing.assert_array_equal(data.modalities["text"].array, TEXT[order])


def test_the_names_of_a_dict_of_hub_data_sets_are_the_splits(tmp_path: Path) -> None:
    bare = {name: values for name, values in COLUMNS.items() if name != "split"}
    parts = {n: HubRows(bare, np.flatnonzero(np.array(COLUMNS["split"]) == n)) for n in SPLITS}
    write_hub(tmp_path / "mine", parts, TEXT.tolist())
    data = load_dataset(tmp_path / "mine")
    assert data.sizes == {"train": 14, "id_val": 8, "ood_val": 8}
    np.testing.assert_array_equal(data.modalities["text"].array, TEXT)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_arrays_is_an_array_in_parts(kind: Any, tmp_path: Path) -> None:
    write_hub(tmp_path / "mine", COLUMNS, kind([TEXT[:10], TEXT[10:]]))
    np.testing.assert_array_equal(load_dataset(tmp_path / "mine").modalities["text"].array, TEXT)


def test_a_tensor_that_is_still_in_training_is_taken(tmp_path: Path) -> None:
    write_hub(tmp_path / "mine", COLUMNS, torch.from_numpy(TEXT).requires_grad_())
    np.testing.assert_array_equal(load_dataset(tmp_path / "mine").modalities["text"].array, TEXT)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine: samples must be a table of polars, .* got object"):
        write_dataset(tmp_path / "mine", object(), {"text": TEXT}, task="regression")
