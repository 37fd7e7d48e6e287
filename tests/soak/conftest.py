"""A laboratory for the soak."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.lab import Lab, Pair


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The installation that is ill-treated."""
    laboratory = Lab()
    yield laboratory
    laboratory.stop()


@pytest.fixture
def pair(lab: Lab) -> Iterator[Pair]:
    """Fresh databases on both servers."""
    with lab.pair() as made:
        yield made
