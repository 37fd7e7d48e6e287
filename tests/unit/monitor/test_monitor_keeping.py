"""Housekeeping is done by one worker, and costs the others nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from headrace.monitor.keeping import Keeping
from headrace.settings import Settings
from headrace.store import Store, base
from headrace.store.schema import audit_logs


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


def test_what_is_old_goes_batch_after_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BATCH", 2)
    settings = Settings(tmp_path)
    store = Store(settings)
    for _ in range(5):
        store.audit("pipeline", "p", "created")
    with store._writing() as transaction:
        long_ago = datetime.now(UTC) - timedelta(days=settings.keep.audit + 1)
        transaction.execute(update(audit_logs).where(audit_logs.c.id < 5).values(timestamp=long_ago))
    Keeping(settings, store, "one").sweep()
    assert [a.id for a in store.audits()[0]] == [5]
    store.close()
