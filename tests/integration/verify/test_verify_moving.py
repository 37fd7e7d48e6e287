"""Comparison while a writer changes the source and a toy replicator follows some time later."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from headrace.engines.postgres.connection import connect

DELAY = 0.03  # seconds that the target is behind

TABLES = """
CREATE TABLE acct(id int PRIMARY KEY, balance bigint, note text);
INSERT INTO acct SELECT i, 0, 'n' || i FROM generate_series(1, 20000) i;
CREATE TABLE counter(id int PRIMARY KEY, n bigint);
INSERT INTO counter SELECT i, 0 FROM generate_series(1, 4) i;
CREATE TABLE history(acct int, delta int, at timestamptz);
INSERT INTO history SELECT i % 100, 1, 'epoch' FROM generate_series(1, 5000) i;
ANALYZE;
"""


@dataclass
class Mover:
    """Writes to the source; what is committed there reaches the target through a queue, ``DELAY`` later."""

    two: Any
    stop: threading.Event = field(default_factory=threading.Event)
    # Commits with their time, markers, and None at the end; short, so that the writer cannot run away.
    waiting: queue.Queue[Any] = field(default_factory=lambda: queue.Queue(maxsize=50))
    order: threading.Lock = field(default_factory=threading.Lock)
    transactions: int = 0
    errors: list[BaseException] = field(default_factory=list)

    def statements(self, dice: random.Random) -> list[str]:
        account, delta = dice.randint(1, 20_000), dice.randint(-9, 9)
        hot = dice.randint(1, 4)
        done = [
            f"UPDATE acct SET balance = balance + {delta} WHERE id = {account}",
            f"INSERT INTO history VALUES ({account}, {delta}, to_timestamp({time.time_ns()} / 1e9))",
        ]
        done.append(f"UPDATE counter SET n = n + 1 WHERE id = {hot}")
        if dice.random() < 0.1:
            gone = dice.randint(5, 50)
            done.append(f"DELETE FROM counter WHERE id = {gone}")
            done.append(f"INSERT INTO counter VALUES ({gone}, {delta})")
        return done

    def write(self) -> None:
        dice = random.Random(1)
        with connect(self.two.source.login, search_path="public") as conn:
            while not self.stop.is_set():
                done = self.statements(dice)
                with self.order:
                    conn.execute("BEGIN; " + "; ".join(done) + "; COMMIT")
                    self.waiting.put((time.monotonic(), "; ".join(done)))
                self.transactions += 1

    def follow(self) -> None:
        with connect(self.two.target.login, search_path="public") as conn:
            while (event := self.waiting.get()) is not None:
                if isinstance(event, threading.Event):
                    event.set()
                    continue
                committed, done = event
                time.sleep(max(0.0, committed + DELAY - time.monotonic()))
                conn.execute(f"BEGIN; {done}; COMMIT")

    def guarded(self, work: Any) -> Any:
        def body() -> None:
            try:
                work()
            except BaseException as error:
                self.errors.append(error)

        return body

    def caught_up(self, _: Any) -> None:
        """Return once everything committed so far is applied: a marker goes through the queue behind it."""
        marker = threading.Event()
        with self.order:
            self.waiting.put(marker)
        while not marker.wait(1):
            assert not self.errors, self.errors


@contextmanager
def moving(two: Any) -> Iterator[Mover]:
    mover = Mover(two)
    threads = [threading.Thread(target=mover.guarded(work)) for work in (mover.write, mover.follow)]
    for thread in threads:
        thread.start()
    try:
        yield mover
    finally:
        mover.stop.set()
        threads[0].join()
        mover.waiting.put(None)
        threads[1].join()
    assert not mover.errors, mover.errors


@pytest.fixture
def tables(two: Any) -> Any:
    two.both(TABLES)
    return two


def routes(two: Any) -> list[Any]:
    return [two.route(name) for name in ("acct", "counter", "history")]


def test_moving_tables_come_out_equal(tables: Any) -> None:
    with moving(tables) as mover:
        report = tables.verify(*routes(tables), caught_up=mover.caught_up)
        assert mover.transactions > 100
    for table in report:
        assert table.error is None
        assert table.differences == []
        assert table.unsettled == []
        assert (table.source.rows, table.source.text) == (table.target.rows, table.target.text)
    assert report.equal
    assert report.settled


def test_planted_differences_are_found_while_moving(tables: Any) -> None:
    tables.target.do("UPDATE acct SET note = 'planted' WHERE id = 777")
    tables.target.do("DELETE FROM acct WHERE id = 778")
    tables.target.do("UPDATE counter SET n = n + 1000000 WHERE id = 2")
    tables.target.do("INSERT INTO history VALUES (-1, 0, 'epoch')")
    tables.target.do("DELETE FROM history WHERE ctid = (SELECT ctid FROM history WHERE acct = 7 LIMIT 1)")
    with moving(tables) as mover:
        report = tables.verify(*routes(tables), caught_up=mover.caught_up)
    accounts, counters, history = report.tables
    assert {(d.key["id"], d.kind) for d in accounts.differences} == {("777", "different"), ("778", "missing")}
    assert next(d for d in accounts.differences if d.key["id"] == "777").columns == ("note",)
    # Its value is wrong in every version, but it moves all the time: that is said, and not called equal.
    assert [k["id"] for k in counters.unsettled] == ["2"]
    assert not counters.settled
    assert {(d.key["acct"], d.kind, d.source_count - d.target_count) for d in history.differences} == {
        ("-1", "extra", -1),
        ("7", "missing", 1),
    }
    assert not report.equal


def test_a_target_row_that_is_not_followed_is_a_difference_although_the_source_moves(tables: Any) -> None:
    tables.target.do("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    tables.target.do(
        "CREATE TRIGGER held BEFORE UPDATE ON counter FOR EACH ROW WHEN (old.id = 3) EXECUTE FUNCTION keep()"
    )
    with moving(tables) as mover:
        (table,) = tables.verify(tables.route("counter"), caught_up=mover.caught_up).tables
    assert [(d.key["id"], d.kind, d.columns) for d in table.differences] == [("3", "different", ("n",))]
