"""TCP ports of this machine: is one free, give me one, does one answer."""

from __future__ import annotations

import contextlib
import socket

from headrace.errors import Conflict

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def free_ports(count: int) -> list[int]:
    """Several different free ports."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def is_free(port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def require_free(name: str, port: int, option: str) -> None:
    """Conflict when the port is taken, naming it and the option that chooses another."""
    if not is_free(port):
        raise Conflict(
            "port_busy",
            f"Port {port} for {name} is in use by another program.",
            f"Stop that program, or choose another port with {option}.",
            {"component": name, "port": port, "option": option},
        )
