"""Free ports of 127.0.0.1."""

import random
import socket
from pathlib import Path

from orchestrator.errors import ServerError

ADDRESS = "127.0.0.1"
FIRST = 10000
# Ports from here on are lent to outgoing connections. A server's port must not be one of them: it could
# be lent while the server restarts, and a client that tries again and again can even meet itself.
LENT = Path("/proc/sys/net/ipv4/ip_local_port_range")
LENT_BY_DEFAULT = 32768


def free_ports(count: int) -> tuple[int, ...]:
    """Ports nobody listens on. Raises ServerError if there are none."""
    last = _first_lent() - 1
    candidates = random.sample(range(FIRST, last + 1), min(1000, last + 1 - FIRST))
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    if len(found) < count:
        raise ServerError(f"no free port on {ADDRESS} between {FIRST} and {last}")
    return tuple(found)


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def _first_lent() -> int:
    try:
        first = int(LENT.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return LENT_BY_DEFAULT
    return first if first > FIRST + 1000 else LENT_BY_DEFAULT
