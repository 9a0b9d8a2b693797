"""Arrays of an .npz file are mapped, whatever way numpy wrote them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.data.formats.npz_file import mapped_arrays
from cmir.errors import InputError

ARRAYS: dict[str, Any] = {
    "train/audio": np.random.default_rng(0).normal(size=(20, 30, 4)).astype(np.float32),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big_endian": np.arange(5, dtype=">f8"),
    "texts": np.array(["a", "längerer"]),
    "number": np.float64(2.5),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_arrays_are_those_that_numpy_reads(tmp_path: Path, save: Callable[..., None]) -> None:
    save(tmp_path / "arrays.npz", **ARRAYS)
    found = mapped_arrays(tmp_path / "arrays.npz")
    assert set(found) == set(ARRAYS)
    for name, wanted in ARRAYS.items():
        assert found[name].dtype == np.asarray(wanted).dtype
        np.testing.assert_array_equal(found[name], wanted)
    assert not found["train/audio"].flags.writeable
    assert not found["train/audio"].flags.owndata


def test_one_changed_byte_is_found(tmp_path: Path) -> None:
    file = tmp_path / "arrays.npz"
    np.savez(file, **ARRAYS)
    content = bytearray(file.read_bytes())
    place = content.index(ARRAYS["train/audio"].tobytes()[:16])
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"must be a whole \.npz .*audio\.npy is wrong"):
        mapped_arrays(file)
