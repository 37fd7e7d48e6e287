"""What the tests of the API hold in hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from headrace.store import Store

# A file that sets pytestmark to this is run on both kinds of metadata.
BOTH = pytest.mark.parametrize("metadata_url", ["sqlite", "postgresql"], indirect=True)


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
