"""What the tests of the API hold in hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.store import Store


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
