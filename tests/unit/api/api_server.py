"""What the tests of the API hold in hand."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import httpx
import pytest

from headrace.store import Store

# A file that sets pytestmark to this is run on both kinds of metadata.
BOTH = pytest.mark.parametrize("metadata_url", ["sqlite", "postgresql"], indirect=True)


T = TypeVar("T")


@contextmanager
def silence() -> Iterator[int]:
    """The port of a socket of 127.0.0.1 that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as hole:
        yield int(hole.getsockname()[1])


def asked_at_once(api: httpx.Client, ask: Callable[[int], T], callers: int = 60) -> tuple[list[T], float]:
    """What so many callers were told at once, and how long somebody else's list of pipelines took at most meanwhile."""
    longest = 0.0
    with ThreadPoolExecutor(callers) as pool:
        asked = [pool.submit(ask, n) for n in range(callers)]
        while not all(a.done() for a in asked):
            before = time.monotonic()
            assert api.get("pipelines").status_code == 200
            longest = max(longest, time.monotonic() - before)
    return [a.result() for a in asked], longest


@dataclass(frozen=True)
class Running:
    """url and token of the server, and a second store on the same metadata (what a worker would hold).

    stop: ask the server to end. alive: whether it has not yet.
    """

    url: str
    token: str
    store: Store
    stop: Callable[[], None] = lambda: None
    alive: Callable[[], bool] = lambda: True
