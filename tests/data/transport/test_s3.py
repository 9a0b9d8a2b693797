"""A data set in an S3 bucket, read from a server of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cmir.data import load_dataset
from cmir.data.transport.data_url import NoSuchDataError, UrlSource, opened_url
from cmir.data.transport.development_part import DevelopmentPart
from cmir.errors import InputError
from tests.support.made_data.mixed_splits import write_mixed

s3fs = pytest.importorskip("s3fs", reason="needs the extra s3")
server = pytest.importorskip("moto.server", reason="needs the extra dev")

SECRET = "the-secret-of-this-test"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The file system of a server with one bucket; credentials are the environment's."""
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "CMIR_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    try:
        system = s3fs.S3FileSystem()
        with suppress(FileExistsError):  # Its buckets live as long as the process.
            system.mkdir("bucket")
        yield system
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        running.stop()


def test_a_data_set_in_a_bucket_is_brought_whole_and_its_part_in_pieces(
    bucket: Any, tmp_path: Path
) -> None:
    whole = write_mixed(tmp_path / "whole")
    bucket.put(str(whole), "bucket/data", recursive=True)
    found = opened_url("s3://bucket/data", "space.yaml: data.path")
    assert found.checksum == load_dataset(whole).checksum
    part = DevelopmentPart(found.path)
    source = UrlSource("s3://bucket/data", part.listing)
    for file in filter(source.gives, part.listing.files):
        content = b"".join(source.pieces(file))
        assert content == part.read(file.name, 0, file.size).tobytes()


def test_no_such_bucket_and_no_server_are_one_sentence_without_a_secret(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoSuchDataError, match="no such bucket or folder as s3://missing/data"):
        opened_url("s3://missing/data", "here")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(
        InputError, match=r"s3://bucket/data cannot be read or written: .*127\.0\.0\.1:9"
    ) as it:
        opened_url("s3://bucket/data", "here")
    assert SECRET not in str(it.value)
    assert "\n" not in str(it.value)
