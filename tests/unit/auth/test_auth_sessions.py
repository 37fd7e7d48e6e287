"""Sessions without a server: what a refused login does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from headrace.auth import passwords
from headrace.auth.attempts import Attempts
from headrace.auth.refusals import Refusals
from headrace.auth.sessions import Sessions
from headrace.auth.tokens import Signer
from headrace.errors import Denied
from headrace.settings import Settings
from headrace.store import Store

PASSWORD = "long enough a password"
Refused = Callable[..., None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(Settings(tmp_path))
    kept = passwords.hashed(PASSWORD)
    for name in ("ann", "shut"):
        store.add_user(f"{name}@example.org", name, "user", kept)
    store.change_user("shut@example.org", {"is_active": False})
    yield store
    store.close()


@pytest.fixture
def refused(store: Store, tmp_path: Path) -> Refused:
    """Log in in vain."""
    sessions = Sessions(Settings(tmp_path), store, Signer(store.secret_keys), Attempts(), Refusals(store))

    def attempt(email: str, password: str = "wrong", address: str = "192.0.2.1") -> None:
        with pytest.raises(Denied) as caught:
            sessions.log_in(email, password, address, "test")
        assert caught.value.code == "wrong_login"

    return attempt


@contextmanager
def noted(store: Store) -> Iterator[list[str]]:
    """The statements and the ends of transactions meanwhile."""
    said: list[str] = []

    def executed(_c: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        said.append(statement)

    def committed(_c: Any) -> None:
        said.append("COMMIT")

    event.listen(store._engine, "before_cursor_execute", executed)
    event.listen(store._engine, "commit", committed)
    try:
        yield said
    finally:
        event.remove(store._engine, "before_cursor_execute", executed)
        event.remove(store._engine, "commit", committed)


def test_a_refused_login_does_the_same_whoever_it_is(store: Store, refused: Refused) -> None:
    def work(email: str, password: str = "wrong") -> list[str]:
        before = store.audits()[1]
        with noted(store) as said:
            refused(email, password)
        assert store.audits()[1] == before + 1
        return said

    nobody = work("nobody@example.org")
    assert nobody.count("COMMIT") == 1
    assert work("ann@example.org") == nobody
    assert work("shut@example.org") == nobody
    assert work("shut@example.org", PASSWORD) == nobody
    for _ in range(9):
        refused("ann@example.org")
    assert store.user("ann@example.org").locked_until is not None
    assert work("ann@example.org") == nobody
    assert work("ann@example.org", PASSWORD) == nobody


def test_failures_in_a_row_lock_for_longer_and_longer(store: Store, refused: Refused) -> None:
    def locked() -> float:
        """For how long, in hours; what is counted goes on as if that had passed."""
        user = store.user("ann@example.org")
        if user.locked_until is None:
            return 0
        [last] = [a for a in store.audits()[0] if a.action == "locked"][:1]
        assert last.new == {"until": user.locked_until.isoformat()}
        with store._engine.begin() as connection:
            connection.exec_driver_sql("UPDATE users SET locked_until = NULL")
        return round((user.locked_until - last.ts).total_seconds() / 3600, 2)

    seen = []
    for n in range(20):
        refused("ann@example.org", address=f"192.0.2.{n}")
        seen.append(locked())
    assert {n + 1: hours for n, hours in enumerate(seen) if hours} == {10: 0.25, 15: 0.5, 20: 1}
    assert store.user("ann@example.org").failed_logins == 20
