"""Events: told in the transaction of what they tell, numbered in the order of commits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text, update

from headrace.actor import Actor, acting
from headrace.errors import NotFound
from headrace.settings import Settings
from headrace.spec.models import PipelineSpec
from headrace.spec.names import TableName
from headrace.store import Store
from headrace.store.records import TableState
from headrace.store.schema import events
from headrace.store.telling import publish
from headrace.store.wake import Wake
from support.lab import until
from support.redis_server import RedisServer

USERS = TableName("public", "users")


def seen(store: Store) -> list[tuple[str, str | None]]:
    """Kind and pipeline of all events."""
    return [(e.kind, e.pipeline) for e in store.events(0)]


def test_what_changes_is_told_and_what_stays_is_not(store: Store, pipeline: PipelineSpec) -> None:
    after = store.event_bounds()[1]
    error = {"code": "c", "message": "m", "guidance": "g", "context": {"password": "hunter2"}}
    store.set_status("p", "error", error=error)
    store.set_status("p", "error", error=error)
    store.set_lag("p", {"events": 3, "heads": {"t": [1]}})
    store.set_applied("p", 1)
    store.put_table("p", TableState(USERS, USERS))
    store.update_table("p", USERS, state="live")
    store.update_table("p", USERS, detail={"x": 1})
    store.log("p", "info", "control", "hello")
    with acting(Actor("u1", "ann")):
        store.audit("connection", "a", "updated", new={"password": "********"})
        store.audit("user", "u1", "login")
    found = store.events(after)
    assert [e.kind for e in found] == ["status", "metrics", "tables", "tables", "logs", "changes"]
    assert found[0].data == {
        "status": "error", "phase": None, "desired": "stopped",
        "error": {"code": "c", "message": "m", "guidance": "g"},
    }  # fmt: skip
    assert found[1].data == {"events": 3}
    assert found[3].data == {"table": "public.users", "state": "live"}
    assert found[5].data == {
        "entity_type": "connection",
        "entity_id": "a",
        "action": "updated",
        "user": "ann",
    }
    store.remove_pipeline("p")
    assert store.events(found[-1].id)[0].data["status"] == "deleted"


def test_what_is_rolled_back_is_not_told(store: Store, pipeline: PipelineSpec) -> None:
    nudges: list[int] = []
    store.wake.listen(lambda: nudges.append(1))
    before = seen(store)
    with pytest.raises(NotFound):
        store.update_table("p", USERS, state="live")
    assert seen(store) == before
    assert nudges == []
    store.log("p", "info", "t", "x")
    assert nudges == [1]


def test_a_reader_who_goes_on_from_the_last_number_misses_nothing(
    store: Store, pipeline: PipelineSpec
) -> None:
    start = store.event_bounds()[1]
    over = threading.Event()
    found: list[int] = []

    def read() -> None:
        position = start
        while True:
            last = over.is_set()
            for event in store.events(position):
                found.append(int(event.data["message"]))
                position = event.id
            if last:
                return

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.log("p", "info", "t", str(n)), range(300)))
    over.set()
    reader.join()
    assert sorted(found) == list(range(300))


def test_old_ones_are_swept_and_numbers_are_not_given_again(store: Store, pipeline: PipelineSpec) -> None:
    for n in range(5):
        store.log("p", "info", "t", str(n))
    newest = store.event_bounds()[1]
    with store._writing() as transaction:
        transaction.execute(update(events).values(ts=store.events(0)[0].ts - timedelta(hours=2)))
    store.sweep_events()
    assert store.event_bounds() == (newest, newest)
    store.log("p", "info", "t", "next")
    assert store.events(newest)[0].id == newest + 1
    assert store.sweep_events(most=0) == 1


# PostgreSQL takes no half JSON, but a number that is longer than Python reads.
@pytest.mark.parametrize("broken", [{1}, {300}, {1, 2, 150, 299, 300}, set(range(1, 301))])
def test_a_damaged_one_does_not_hide_the_others(store: Store, broken: set[int]) -> None:
    kept = store.event_bounds()[1]
    with store._writing() as transaction:
        for n in range(1, 301):
            publish(transaction, "logs", "p", {"n": n})
    with store._writing() as transaction:
        for n in broken:
            given = {"data": f'{{"n": {"9" * 5000}}}', "id": kept + n}
            transaction.execute(text("UPDATE events SET data = :data WHERE id = :id"), given)
    found = store.events(kept)
    assert [e.id - kept for e in found] == list(range(1, 301))
    assert {e.id - kept for e in found if e.damaged} == broken
    assert all(e.data == {"n": e.id - kept} for e in found if not e.damaged)
    assert [e.id - kept for e in store.events(kept + 100, limit=3)] == [101, 102, 103]


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_redis_nudges_other_processes_and_its_absence_disturbs_nobody(
    redis_server: RedisServer, settings: Settings
) -> None:
    here, there = Wake(redis_server.url), Wake(redis_server.url)
    heard = threading.Event()
    there.listen(heard.set)
    until(heard.is_set, 10, "the listener")
    for _ in range(2):
        heard.clear()
        here.tell()
        assert heard.wait(5)
        redis_server.kill()
        here.tell()
        redis_server.start()

        def told() -> bool:
            here.tell()
            return heard.wait(0.1)

        until(told, 20, "Redis again")
    here.close()
    there.close()


def test_who_changes_much_at_once_does_not_wait_in_a_circle(store: Store, pipeline: PipelineSpec) -> None:
    """Events are numbered under a lock: whoever held it while they wait for a row would stand in the row's way."""

    def at_once(n: int) -> None:
        with store.together():
            store.audit("connection", "a", "updated")
            store.set_desired("p", "running" if n % 2 else "stopped")

    def alone(n: int) -> None:
        store.set_status("p", "running" if n % 2 else "stopped", None)

    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(work, n) for n in range(60) for work in (at_once, alone)]
    assert [d.exception() for d in done] == [None] * 120
