"""Whether a Ray cluster answers at an address, asked before anything else is begun.

Ray itself asks on for a minute where nothing answers, or something else does.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from cmir.errors import InputError

# Seconds for an answer.
PATIENCE = 3.0
# What begins a connection of HTTP/2, which Ray speaks: the preface, and empty settings. The other
# side answers with its own settings, a frame of type 4.
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
FRAME, TYPE, SETTINGS = 9, 3, 4
ADVICE = (
    "Start the cluster with `ray start --head`, give the host:port that `ray status` shows, or "
    "leave --address out and RAY_ADDRESS unset."
)
# Where `ray start` notes the address of the cluster that it began or joined.
NOTE = "ray/ray_current_cluster"


def has_port(address: str) -> bool:
    """Whether an address is `host:port`, and no word of Ray's or an address of its client."""
    return ":" in address and "://" not in address


def check_address(address: str | None) -> None:
    """Asks for an answer, where there is an address of another form than Ray's own words.

    Without one, a cluster that runs on this machine is not used, and that is said.

    Raises:
        InputError: it is none, nothing listens there, or what does is no Ray.
    """
    if address is None:
        _note_unused()
    elif address not in ("auto", "local"):
        _check(address)


def _note_unused() -> None:
    note = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), NOTE)
    with suppress(OSError, InputError):
        address = note.read_text().strip()
        _check(address)
        print(
            f"The Ray cluster at {address}, which this machine is part of, is not used. To use it, "
            f"give --address {address} or set RAY_ADDRESS.",
            file=sys.stderr,
        )


def _check(address: str) -> None:
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (host and colon and port.isdigit()):
        raise InputError(f"--address {address}: must be host:port, such as 10.0.0.1:6379.")
    try:
        answer = _answer(host.strip("[]"), int(port))
    except TimeoutError:
        answer = b""
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(f"--address {address}: nothing answers there: {error}. {ADVICE}") from None
    if len(answer) < FRAME or answer[TYPE] != SETTINGS:
        raise InputError(f"--address {address}: what answers there is no Ray cluster. {ADVICE}")


def _answer(host: str, port: int) -> bytes:
    with socket.create_connection((host, port), PATIENCE) as connection:
        if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
            # Encrypted: that something listens has to do.
            return bytes(TYPE) + bytes([SETTINGS]) + bytes(FRAME)
        connection.settimeout(PATIENCE)
        connection.sendall(HELLO)
        return connection.recv(FRAME, socket.MSG_WAITALL)
