"""Housekeeping is done by one worker, and costs the others nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.monitor.keeping import Keeping
from headrace.settings import Settings
from headrace.store import Store


def test_one_does_it_and_the_others_ask_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(tmp_path)
    store = Store(settings)
    first, second = Keeping(settings, store, "first"), Keeping(settings, store, "second")
    asked: list[str] = []
    acquire = store.acquire

    def counted(name: str, owner: str, seconds: float) -> bool:
        asked.append(owner)
        return acquire(name, owner, seconds)

    monkeypatch.setattr(store, "acquire", counted)
    for _ in range(50):
        first.tend()
        second.tend()
    assert asked == ["first", "second"]
    assert store.holder("housekeeping") == "first"
    store.close()
