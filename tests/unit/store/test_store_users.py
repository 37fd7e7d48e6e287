"""Accounts, sessions and API tokens, on both kinds of metadata."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import update

from headrace.errors import Conflict, HeadraceError, NotFound, Precondition
from headrace.settings import Settings
from headrace.store import Store
from headrace.store.base import new_id
from headrace.store.schema import sessions
from headrace.store.users import Login, User

LOCKS = {3: 60.0, 5: 120.0}


@pytest.fixture
def ann(store: Store) -> User:
    return store.add_user("ann@example.org", "Ann Ä", "operator", "$hash$")


def begun(store: Store, user: User, refresh: str = "r0", seconds: int = 60) -> Login:
    return store.begin_session(new_id(), user.id, refresh, seconds, "agent" * 100, "1.2.3.4")


def at_once(*deeds: Callable[[], Any]) -> list[Any]:
    """What each gives (an error by its code), all begun at the same moment."""
    line = Barrier(len(deeds))

    def begin(deed: Callable[[], Any]) -> Any:
        line.wait(10)
        try:
            return deed()
        except HeadraceError as error:
            return error.code

    with ThreadPoolExecutor(len(deeds)) as pool:
        return list(pool.map(begin, deeds))


# --- accounts


def test_accounts_come_back_whole(store: Store, ann: User) -> None:
    assert store.user(ann.id) == store.user("ANN@example.org") == store.find_user(ann.email) == ann
    assert (ann.full_name, ann.role, ann.password, ann.active) == ("Ann Ä", "operator", "$hash$", True)
    assert (ann.failed_logins, ann.locked_until, ann.last_login_at, ann.version) == (0, None, None, 1)
    assert ann.created_at.tzinfo is UTC
    assert store.find_user("nobody@example.org") is None
    with pytest.raises(NotFound):
        store.user("nobody@example.org")


def test_an_address_is_taken_once_and_free_again_after_deletion(store: Store, ann: User) -> None:
    with pytest.raises(Conflict) as error:
        store.add_user(ann.email, "", "user", None)
    assert error.value.code == "exists_already"
    assert store.delete_user(ann.email).id == ann.id
    again = store.add_user(ann.email, "", "user", None)
    assert again.id != ann.id
    assert store.user(ann.email) == again
    found = at_once(*(lambda: store.add_user("bob@example.org", "", "user", None) for _ in range(4)))
    assert sorted(str(f) for f in found).count("exists_already") == 3


def test_accounts_are_searched_sorted_and_paged(store: Store, ann: User) -> None:
    for n in range(3):
        store.add_user(f"u{n}@example.org", f"50% of_{n}", "viewer", None)
    store.change_user("u2@example.org", {"is_active": False})

    def names(**which: Any) -> list[str]:
        return [u.email.partition("@")[0] for u in store.users(**which)[0]]

    assert names() == ["ann", "u0", "u1", "u2"]
    assert (names(q="ANN"), names(q="0% OF_1"), names(q="x%")) == (["ann"], ["u1"], [])
    assert names(role="viewer", active=True) == ["u0", "u1"]
    assert names(active=False) == ["u2"]
    assert names(sort="-email", limit=2, offset=1) == ["u1", "u0"]
    assert names(sort="-created_at")[0] == "u2"
    assert store.users(role="viewer", limit=1)[1] == 3


def test_of_many_first_accounts_one_is_made(settings: Settings) -> None:
    stores = [Store(settings) for _ in range(4)]
    assert not stores[0].any_user()
    made = at_once(*(lambda s=s, n=n: s.add_first_user(f"a{n}@x.org", "h") for n, s in enumerate(stores)))
    first = [user for user in made if user is not None]
    assert len(first) == 1
    assert stores[0].users() == (first, 1)
    assert first[0].role == "admin"
    stores[0].add_user("b@x.org", "", "admin", None)
    stores[0].delete_user(first[0].id)
    # There was an account: an empty list does not open the door again.
    assert stores[0].add_first_user("c@x.org", "h") is None
    for store in stores:
        store.close()


def test_changes_name_the_version_and_end_sessions(store: Store, ann: User) -> None:
    session = begun(store, ann)
    old, new = store.change_user(ann.id, {"full_name": "A"}, expected=1)
    assert (old.full_name, new.full_name, new.version) == ("Ann Ä", "A", 2)
    assert store.session_user(session.id, ann.id) is not None
    with pytest.raises(Precondition) as error:
        store.change_user(ann.id, {"full_name": "B"}, expected=1)
    assert error.value.code == "stale"
    for change in ({"role_name": "viewer"}, {"hashed_password": "other"}, {"is_active": False}):
        session = begun(store, ann)
        store.change_user(ann.id, change)
        ended = store.session(session.id)
        assert ended is not None
        assert ended.revoked_at is not None
    found = at_once(
        *(lambda n=n: store.change_user(ann.id, {"full_name": f"{n}"}, expected=5) for n in range(4))
    )
    assert found.count("stale") == 3


def test_the_last_admin_stays_whoever_goes_at_once(store: Store) -> None:
    one, two = (store.add_user(f"{n}@example.org", "", "admin", None) for n in ("one", "two"))
    found = at_once(
        lambda: store.delete_user(one.id), lambda: store.change_user(two.id, {"role_name": "user"})
    )
    assert found.count("last_admin") == 1
    assert store.users(role="admin")[1] == 1
    left = store.users(role="admin")[0][0]
    for deed in (
        lambda: store.change_user(left.id, {"is_active": False}),
        lambda: store.delete_user(left.id),
    ):
        with pytest.raises(Conflict) as error:
            deed()
        assert error.value.code == "last_admin"


def test_who_is_deleted_is_gone_with_sessions_and_tokens(store: Store, ann: User) -> None:
    session, id_ = begun(store, ann), new_id()
    store.add_token(id_, ann.id, "t", "h", ["*"], None)
    store.delete_user(ann.id)
    assert store.session_user(session.id, ann.id) is None
    assert (store.token_and_user(id_), store.tokens(ann.id)) == (None, [])
    assert (store.find_user(ann.email), store.users()) == (None, ([], 0))
    with pytest.raises(NotFound):
        store.change_user(ann.id, {"full_name": "x"})


def test_failed_logins_lock_and_a_login_frees(store: Store, ann: User) -> None:
    def fail() -> datetime | None:
        store.login_refused(ann.email, ann.id, True, LOCKS)
        return store.user(ann.id).locked_until

    assert [fail(), fail()] == [None, None]
    until = fail()
    assert until is not None
    assert timedelta(seconds=50) < until - datetime.now(UTC) <= timedelta(seconds=60)
    locked = store.user(ann.id)
    assert (locked.failed_logins, locked.locked_until) == (3, until)
    # Locked as it is, it is not locked for longer by whoever knocks on.
    assert fail() == until
    assert store.user(ann.id) == locked
    free = store.unlock(ann.email)
    assert (free.failed_logins, free.locked_until) == (0, None)
    at_once(*(fail for _ in range(8)))
    assert store.user(ann.id).failed_logins == 3
    begun(store, ann)
    entered = store.user(ann.id)
    assert (entered.failed_logins, entered.locked_until) == (0, None)
    assert entered.last_login_at is not None


def test_a_rehash_never_undoes_a_change(store: Store, ann: User) -> None:
    store.rehash(ann.id, "$hash$", "$new$")
    assert store.user(ann.id).password == "$new$"
    store.rehash(ann.id, "$hash$", "$newer$")
    assert store.user(ann.id).password == "$new$"


# --- sessions


def test_sessions_live_until_they_end(store: Store, ann: User) -> None:
    first, second, short = begun(store, ann), begun(store, ann), begun(store, ann, seconds=0)
    assert store.session(first.id) == first
    assert (first.refresh, first.address, len(first.user_agent)) == ("r0", "1.2.3.4", 300)
    assert [s.id for s in store.sessions(ann.id)] == [second.id, first.id]
    assert store.session_user(first.id, ann.id) == store.user(ann.id)
    assert store.session_user(first.id, new_id()) is None
    assert store.session_user(short.id, ann.id) is None
    assert [store.end_session(first.id), store.end_session(first.id)] == [True, False]
    assert store.session_user(first.id, ann.id) is None
    assert store.end_sessions(ann.id) == 2
    assert store.sessions(ann.id) == []


def test_a_refresh_token_is_replaced_once(store: Store, ann: User) -> None:
    session = begun(store, ann)
    found = at_once(*(lambda n=n: store.rotate_session(session.id, "r0", f"n{n}", 600) for n in range(6)))
    assert sorted(found) == [False] * 5 + [True]
    now = store.session(session.id)
    assert now is not None
    assert (now.previous, now.refresh) == ("r0", f"n{found.index(True)}")
    assert now.rotated_at is not None
    assert now.expires_at - now.rotated_at == timedelta(seconds=600)
    store.end_session(session.id)
    assert not store.rotate_session(session.id, now.refresh, "x", 600)


def test_sessions_that_ended_long_ago_are_forgotten(store: Store, ann: User) -> None:
    living, expired, ended = begun(store, ann), begun(store, ann), begun(store, ann)
    store.end_session(ended.id)
    assert store.sweep_sessions() == 0
    old = datetime.now(UTC) - timedelta(days=31)
    with store._writing() as transaction:
        for id_, column in ((expired.id, "expires_at"), (ended.id, "revoked_at")):
            transaction.execute(update(sessions).where(sessions.c.id == id_).values({column: old}))
    assert store.sweep_sessions() == 2
    assert store.session(living.id) == living
    assert store.session(ended.id) is None


# --- API tokens


def test_tokens(store: Store, ann: User) -> None:
    ends = datetime(2200, 1, 2, 3, 4, 5, 678901, UTC)
    ids = [new_id() for _ in range(3)]
    made = store.add_token(ids[0], ann.id, "one", "h" * 64, ["pipelines:*", "*:read"], ends)
    store.add_token(ids[1], ann.id, "two", "h", ["*"], None)
    store.add_token(ids[2], ann.id, "over", "h", ["*"], datetime.now(UTC))
    assert (made.scopes, made.expires_at, made.last_used_at) == (["pipelines:*", "*:read"], ends, None)
    assert store.token_and_user(ids[0]) == (made, ann)
    assert store.token_and_user(ids[2]) is None
    assert {t.name for t in store.tokens(ann.id)} == {"one", "two", "over"}
    store.touch_token(made)
    used = store.tokens(ann.id)[-1]
    assert used.last_used_at is not None
    store.touch_token(used)
    assert store.tokens(ann.id)[-1] == used
    with pytest.raises(NotFound):
        store.revoke_token(ids[0], new_id())
    assert store.revoke_token(ids[0], ann.id).name == "one"
    for again in (ann.id, None):
        with pytest.raises(NotFound):
            store.revoke_token(ids[0], again)
    assert store.token_and_user(ids[0]) is None
    store.change_user(ann.id, {"is_active": False})
    assert store.token_and_user(ids[1]) is None
