"""A hub that hands every frame on after a while, for kernels that cannot delay a link themselves.

    python slow_hub.py SECONDS PORT ...     hands on until it is ended; says `ready` first
    python slow_hub.py plain NAME ...       frames of these links as on a wire: whole and small

Nothing but Python's own library, as it runs in the network of a switch.
"""

from __future__ import annotations

import array
import fcntl
import select
import socket
import struct
import sys
import time
from collections import deque

EVERY_PROTOCOL, LARGEST, HELD = 3, 1 << 16, 32 << 20
# Checksums at receipt and sending, and parts that the link would cut or join: all by the kernel.
ETHTOOL, SWITCHES = 0x8946, (0x15, 0x17, 0x1F, 0x24, 0x2C)

Waiting = deque[tuple[float, int, bytes]]


def plain(name: str) -> None:
    """Turns off what makes frames on a link differ from those on a wire."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        for switch in SWITCHES:
            value = array.array("I", [switch, 0])
            request = struct.pack("16sP8x", name.encode(), value.buffer_info()[0])
            fcntl.ioctl(link, ETHTOOL, request)


def hub(seconds: float, names: list[str]) -> None:
    """Hands frames from each port on to all others, `seconds` after they came."""
    ports = {port.fileno(): port for port in map(_port, names)}
    poll, waiting = select.poll(), Waiting()
    for number in ports:
        poll.register(number, select.POLLIN)
    print("ready", flush=True)
    while True:
        left = max(0.0, waiting[0][0] - time.monotonic()) * 1000 if waiting else None
        for number, _ in poll.poll(left):
            frame, origin = ports[number].recvfrom(LARGEST)
            if origin[2] != socket.PACKET_OUTGOING:
                waiting.append((time.monotonic() + seconds, number, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, source, frame = waiting.popleft()
            for number, port in ports.items():
                if number != source:
                    port.send(frame)


def _port(name: str) -> socket.socket:
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, HELD)
    port.bind((name, 0))
    return port


if __name__ == "__main__":
    first, *others = sys.argv[1:]
    if first == "plain":
        for one in others:
            plain(one)
    else:
        hub(float(first), others)
