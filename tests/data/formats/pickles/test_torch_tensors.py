"""Torch tensors in a pickle become the arrays they are; nothing else that torch can pickle does."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmir.data.formats.pickles import pickle_payloads, safe_pickle, torch_tensors
from cmir.data.formats.readers import mmsa
from cmir.errors import InputError
from tests.support.made_data.small_data import mmsa_content

TENSORS = {
    "float": torch.arange(6.0).reshape(2, 3),
    "double": torch.ones(2, dtype=torch.float64),
    "half": torch.full((2, 2), 0.5, dtype=torch.float16),
    "bfloat16": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "long": torch.tensor([[1, -2]]),
    "bool": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
    "number": torch.tensor(2.5),
    "part": torch.arange(20.0).reshape(4, 5)[1:3, 2:],
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "parameter": torch.nn.Parameter(torch.ones(3)),
}


def written(folder: Path, content: object, protocol: int = 4) -> Path:
    file = folder / "tensors.pkl"
    file.write_bytes(pickle.dumps(content, protocol))
    return file


def wanted(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("is_mapped", [False, True])
def test_tensors_are_read_as_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int, is_mapped: bool
) -> None:
    if is_mapped:
        monkeypatch.setattr(pickle_payloads, "SMALL_FILE", 1)
        monkeypatch.setattr(pickle_payloads, "LARGE", 64)
    found: Any = safe_pickle.load(written(tmp_path, TENSORS, protocol))
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(found[name], wanted(tensor))
        assert found[name].dtype == wanted(tensor).dtype


def test_a_file_of_tensors_is_the_file_of_arrays(tmp_path: Path) -> None:
    content = mmsa_content()
    arrays = mmsa(written(tmp_path, content))
    for split in content.values():
        for key in ("text", "audio", "vision"):
            split[key] = torch.from_numpy(split[key])
        split["regression_labels"] = torch.from_numpy(split["regression_labels"])
        split["audio_lengths"] = torch.tensor(split["audio_lengths"])
    tensors = mmsa(written(tmp_path, content))
    assert tensors.samples.equals(arrays.samples)
    for name in arrays.parts:
        for one, other in zip(arrays.blocks(name), tensors.blocks(name), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(2, 2).to_sparse(),
        torch.ones(2, dtype=torch.complex64),
        torch.nn.Linear(1, 1),
        torch.ones(1).expand(1000),
        torch.float32,
    ],
)
def test_what_is_no_plain_tensor_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(InputError, match=r"tensors\.pkl: "):
        safe_pickle.load(written(tmp_path, value))


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (7,), (1,)), (5, (2,), (1,)), (0, (2,), (6,)), (0, (2, 2), (1,)), (-1, (1,), (1,)),
     (0, (2,), (-1,)), (0, (9,), (0,)), (0, "ab", (1,)), (0, (2.0,), (1,))],
)  # fmt: skip
def test_a_view_beyond_its_storage_is_refused(offset: Any, size: Any, stride: Any) -> None:
    storage = torch_tensors.Storage(np.arange(6.0))
    with pytest.raises(ValueError, match="tensor"):
        torch_tensors.rebuild_tensor(storage, offset, size, stride)


class Forged:
    """Pickles to a call in the place of a storage."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


def test_a_storage_cannot_name_what_is_no_storage_nor_be_given_other_values(tmp_path: Path) -> None:
    inner = pickle.dumps(torch_tensors.MAGIC) + pickle.dumps(Forged(os.system, ("touch x",)))
    forged = Forged(torch.storage._load_from_bytes, (inner,))
    with pytest.raises(InputError, match=r"names posix\.system, which is no storage"):
        safe_pickle.load(written(tmp_path, forged))
    tensor: Any = torch.ones(2)
    plain = tensor.__reduce_ex__(2)[1][0].__reduce__()
    filled = Forged(*plain, {"values": np.zeros((1, 1))})
    with pytest.raises(InputError, match="must not be given a state"):
        safe_pickle.load(written(tmp_path, filled))
