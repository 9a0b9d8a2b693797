"""A sweep file names its data by a URL: found, written down as such, and found again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cmir.data import load_dataset
from cmir.errors import InputError
from cmir.runner.paths import Paths
from cmir.sweep.preparation import prepare_sweep
from tests.support.small_sweep import write_data, write_space


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CMIR_CACHE", str(tmp_path / "cache"))
    return f"file://{write_data(tmp_path / 'elsewhere' / 'small')}"


def test_the_url_is_what_is_written_down_and_leads_to_the_data(tmp_path: Path, url: str) -> None:
    paths = Paths(tmp_path / "here")
    data = prepare_sweep(write_space(tmp_path, data={"path": url}), {}, paths).data
    assert data.path.is_relative_to(tmp_path / "cache")
    assert paths.recorded(data.found_at) == url
    found = paths.dataset(url)
    assert found.development().checksum == data.checksum
    assert found.heldout().splits.keys() == {"id_test", "ood_test"}
    folder = tmp_path / "elsewhere" / "small"
    assert paths.dataset(str(folder)).checksum == load_dataset(folder).checksum


def test_data_that_is_missing_at_its_url_is_refused_or_stood_in_for(
    tmp_path: Path, url: str
) -> None:
    paths = Paths(tmp_path / "here")
    shutil.rmtree(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"small\.yaml: data\.path: there is no such bucket or"):
        prepare_sweep(write_space(tmp_path, data={"path": url}), {}, paths)
    space = write_space(tmp_path, data={"path": url, "if_missing": "synthetic"})
    prepared = prepare_sweep(space, {}, paths)
    assert prepared.is_synthetic
    assert prepared.file.name == "small-synthetic"
    faulty = write_space(tmp_path, data={"path": "odd://b/small", "if_missing": "synthetic"})
    with pytest.raises(InputError, match="odd://b/small cannot be read or written: Protocol"):
        prepare_sweep(faulty, {}, paths)
