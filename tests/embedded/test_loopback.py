"""Ports for servers on loopback."""

import socket
from pathlib import Path

from orchestrator.embedded.loopback import ADDRESS, free_ports, is_free


def test_ports_differ_and_are_free() -> None:
    ports = free_ports(3)
    assert len(set(ports)) == 3
    assert all(is_free(port) for port in ports)


def test_no_port_is_one_that_the_kernel_lends_to_outgoing_connections() -> None:
    lent = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert all(port < int(lent[0]) or port > int(lent[1]) for port in free_ports(50))


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.socket() as taken:
        taken.bind((ADDRESS, 0))
        taken.listen()
        assert not is_free(taken.getsockname()[1])
