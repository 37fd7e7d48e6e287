"""Accounts: those of other issuers, and what refused logins leave."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, get_ident
from typing import Any

import pytest
from sqlalchemy import event

from headrace.store import Store
from headrace.store.users import User

ISSUER = "https://Issuer.example/realm"


def seen(store: Store, subject: str, claimed: str | None = None, email: str = "") -> tuple[User | None, User]:
    """At this sight of a token."""
    return store.foreign_user(ISSUER, subject, email, subject, claimed, "user")


def test_first_sights_at_once_make_one_account(store: Store) -> None:
    threads = 4
    together, looked = Barrier(threads), set[int]()

    def read(_c: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        # All have seen that there is no account before the first one makes it.
        if statement.startswith("SELECT users") and get_ident() not in looked:
            looked.add(get_ident())
            together.wait(20)

    if store._engine.dialect.name == "postgresql":
        # SQLite has them read in turn.
        event.listen(store._engine, "after_cursor_execute", read)
    with ThreadPoolExecutor(threads) as pool:
        for n in range(5):
            looked.clear()
            sights = [pool.submit(seen, store, f"s{n}", "viewer", "s@example.org") for _ in range(threads)]
            results = [sight.result(30) for sight in sights]
            assert len({user.id for _, user in results}) == 1
            assert sum(before is None for before, _ in results) == 1


def test_an_address_is_found_for_everybody(store: Store) -> None:
    store.add_user("taken@example.org", "", "admin", None)
    store.add_user("squat@issuer.example/realm", "", "user", None)
    made = [
        seen(store, subject, email=email)[1]
        for subject, email in [
            ("a", "taken@example.org"), ("Squat", ""), ("Ann", ""), ("ann", ""), ("İ" * 255, ""), ("ı" * 255, ""),
            ("b", "same@example.org"), ("c", "same@example.org"),
        ]
    ]  # fmt: skip
    assert len({u.email for u in made}) == len(made)
    assert all(len(u.email) <= 320 and u.email == u.email.lower() for u in made)
    assert [u.email for u in made][0::2][:2] == ["a@issuer.example/realm", "ann@issuer.example/realm"]
    assert {u.role for u in made} == {"user"}
    assert [seen(store, str(u.subject))[1].id for u in made] == [u.id for u in made]


def test_a_role_follows_its_issuer(store: Store) -> None:
    assert seen(store, "ann")[1].role == "user"
    # What an admin gives stays while the issuer says nothing of it.
    store.change_user(seen(store, "ann")[1].id, {"role_name": "viewer"})
    assert seen(store, "ann")[1].role == "viewer"
    before, after = seen(store, "ann", "operator")
    assert before is not None
    assert (before.role, after.role, after.version) == ("viewer", "operator", before.version + 1)
    assert seen(store, "ann", "operator") == (after, after)
    # What it named once falls when it is not named any more.
    assert seen(store, "ann")[1].role == "user"
    store.change_user(after.id, {"role_name": "operator"})
    assert seen(store, "ann")[1].role == "operator"
    store.delete_user(after.id)
    gone = seen(store, "ann", "admin")[1]
    assert (gone.active, gone.role) == (False, "operator")


@pytest.mark.parametrize("wrong", [True, False])
def test_refused_logins_are_counted_and_written_down(store: Store, wrong: bool) -> None:
    user = store.add_user("ann@example.org", "", "user", None)
    for _ in range(4):
        store.login_refused(user.email, user.id, wrong, {3: 60.0})
    store.login_refused("nobody@example.org", "nobody@example.org", True, {3: 60.0})
    counted = store.user(user.id)
    assert counted.failed_logins == (3 if wrong else 0)
    assert (counted.locked_until is not None) == wrong
    noted = [(a.entity_id, a.action) for a in store.audits()[0]]
    assert noted.count((user.id, "login_failed")) == 4
    assert noted.count((user.id, "locked")) == wrong
    assert noted[0] == ("nobody@example.org", "login_failed")
