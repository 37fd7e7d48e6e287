"""Who takes a pipeline over, and when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headrace.settings import Settings
from headrace.store import Store
from headrace.store.owners import place as here
from headrace.worker.main import Worker


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation without Kafka: leases need none."""
    return Settings(data=tmp_path, kafka="127.0.0.1:1", connect="http://127.0.0.1:1")


def owner(pid: int, place: str | None = None) -> str:
    """The name under which a worker of that process holds leases."""
    return f"{place or here()}-{pid}-abcd"


def ended() -> int:
    """A process id that was used and is free again."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_lease_of_a_process_that_is_gone_is_taken_at_once(settings: Settings) -> None:
    store, worker = Store(settings), Worker(settings)
    assert store.acquire("p", owner(ended()), 60)
    assert worker._take("p")
    assert store.holder("p") == worker._owner
    worker._store.close()
    store.close()


@pytest.mark.parametrize("place", [None, "elsewhere:00000000:1"], ids=["alive here", "somewhere else"])
def test_lease_of_others_is_waited_for(settings: Settings, place: str | None) -> None:
    store, worker = Store(settings), Worker(settings)
    holder = owner(1 if place is None else ended(), place)
    assert store.acquire("p", holder, 60)
    assert not worker._take("p")
    assert store.holder("p") == holder
    worker._store.close()
    store.close()
