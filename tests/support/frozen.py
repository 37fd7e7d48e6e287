"""A database server that is there and does nothing: every process of it is stopped, its kernel still takes what comes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from headrace.local.postgres import PostgresServer


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """While inside, no process of the server runs."""
    assert server.service.identity is not None
    process = server.service.identity.find()
    assert process is not None
    family = [process]
    process.send_signal(signal.SIGSTOP)
    # Only now no more of them come.
    family += process.children(recursive=True)
    for member in family[1:]:
        member.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGCONT)
