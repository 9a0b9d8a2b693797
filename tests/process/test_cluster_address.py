from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cmir.errors import InputError
from cmir.process.cluster_address import FRAME, NOTE, check_address, has_port


@contextmanager
def answering(text: bytes) -> Iterator[str]:
    """The address of something that says one thing and hangs up, or nothing and stays."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(text)
                # The other side goes first where there is nothing to say.
                if not text:
                    connection.recv(64)

        threading.Thread(target=answer, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:port"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="must be host:port"):
        check_address(address)


def test_an_address_where_nothing_listens_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(InputError, match=r"nothing answers there: .*refused"):
        check_address(address)


@pytest.mark.parametrize("text", [b"HTTP/1.0 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n", b"x"])
def test_another_service_is_told_from_a_cluster(text: bytes) -> None:
    with answering(text) as address, pytest.raises(InputError, match="is no Ray cluster"):
        check_address(address)


def test_what_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cmir.process.cluster_address.PATIENCE", 0.3)
    with answering(b"") as address, pytest.raises(InputError, match="is no Ray cluster"):
        check_address(address)


def test_settings_of_http_2_are_an_answer() -> None:
    with answering(b"\0\0\0\4" + bytes(FRAME - 4)) as address:
        check_address(address)
    check_address(None)
    check_address("auto")


def test_a_cluster_of_this_machine_that_is_not_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    note = tmp_path / NOTE
    note.parent.mkdir()
    with answering(b"\0\0\0\4" + bytes(FRAME - 4)) as address:
        note.write_text(address)
        check_address(None)
        assert f"give --address {address}" in capsys.readouterr().err
    # Left behind by a cluster that is gone.
    check_address(None)
    assert capsys.readouterr().err == ""


def test_only_a_host_and_its_port_can_be_asked() -> None:
    known = ("head:6379", "auto", "ray://head:10001", "[::1]:6379")
    assert [has_port(address) for address in known] == [True, False, False, True]
