"""Free loopback ports that stay free.

They are taken from below the range that the kernel gives to outgoing connections: a client that
keeps dialling a dead port inside that range is, sooner or later, given the same port as its own
end, is connected to itself, and a server that restarts finds its port taken.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

HOST = "127.0.0.1"
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
_random = random.SystemRandom()
SHARE, SHARES = 0, 1
"""Which share of the ports this process takes, of how many: processes that start servers at the
same time would, now and then, choose the same one before either is used."""


def free_ports(count: int) -> list[int]:
    """``count`` different ports that nobody listens on now."""
    last = _first_outgoing() - 1
    found: list[int] = []
    while len(found) < count:
        port = _random.randint(_LOWEST, last)
        if port % SHARES == SHARE and port not in found and is_free(port):
            found.append(port)
    return found


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def answers(port: int, timeout: float = 1.0) -> bool:
    """Whether somebody accepts connections on the port."""
    try:
        socket.create_connection((HOST, port), timeout=timeout).close()
    except OSError:
        return False
    return True


def _first_outgoing() -> int:
    try:
        first = int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
    return first if first > _LOWEST + 1_000 else 65_536
