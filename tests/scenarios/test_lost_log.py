"""Pieces of the log are taken away: it is noticed, said, and mended by an exact load; never skipped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from support.lab import CANARY, Lab, Pair, until

TABLES = ("keyed", "keyless", "canary")
SETUP = """
CREATE TABLE keyed (id int PRIMARY KEY, v text);
CREATE TABLE keyless (a int, b text);
INSERT INTO keyed SELECT i, 'first ' || i FROM generate_series(1, 500) i;
INSERT INTO keyless SELECT i % 50, 'first' FROM generate_series(1, 500) i;
"""


@pytest.fixture
def live(pair: Pair) -> Pair:
    """A pipeline that streams a table with a key, one without, and a canary."""
    pair.src.execute(SETUP)
    pair.src.execute(CANARY)
    pair.apply()
    write(pair, "before")
    pair.canary()
    return pair


def write(pair: Pair, word: str) -> None:
    """Change something in every table; what is lost of it shows."""
    with pair.src.transaction():
        pair.src.execute("INSERT INTO keyed SELECT max(id) + 1, %s FROM keyed", [word])
        pair.src.execute("UPDATE keyed SET v = v || %s WHERE id %% 10 = 3", [word])
        pair.src.execute("DELETE FROM keyed WHERE id = (SELECT min(id) FROM keyed)")
    pair.src.execute("INSERT INTO keyless SELECT i %% 50, %s FROM generate_series(1, 20) i", [word])
    pair.src.execute("UPDATE keyless SET b = b || %s WHERE a = 7", [word])
    pair.src.execute("INSERT INTO canary DEFAULT VALUES")


def topic_of(pair: Pair, table: str) -> str:
    """Kafka's topic of a table, as the progress row names it."""
    row = pair.tgt.execute("SELECT topic FROM headrace.progress WHERE source_table = %s", [table]).fetchone()
    assert row is not None
    return str(row[0])


def said(pair: Pair, text: str, seconds: float = 90) -> None:
    """Wait until the pipeline's log says it."""
    try:
        until(lambda: pair.lines(text), seconds)
    except AssertionError:
        raise AssertionError(f"the log does not say {text!r}:\n{pair.log()}") from None


def mended(pair: Pair) -> None:
    """Wait until all is equal again; then it streams on, exactly."""
    write(pair, "after")
    pair.settle(*TABLES)
    write(pair, "later")
    pair.canary()
    pair.equal(*TABLES)


class Rest:
    """Kafka Connect as somebody else would use it."""

    def __init__(self, lab: Lab, pair: Pair) -> None:
        base = lab.stack.settings.connect
        names = httpx.get(f"{base}/connectors").json()
        self.name = next(n for n in names if pair.name in n)
        self._base = f"{base}/connectors/{self.name}"

    def call(self, method: str, path: str = "") -> int:
        """One call; its status."""
        return httpx.request(method, f"{self._base}{path}", timeout=30).status_code

    def offsets(self) -> list[object]:
        """Its offsets."""
        found: list[object] = httpx.get(f"{self._base}/offsets", timeout=30).json()["offsets"]
        return found

    def reads(self, pair: Pair) -> bool:
        """Whether it reads its slot."""
        query = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND active"
        return pair.src.execute(query, [slot_of(pair)]).fetchone() is not None


def slot_of(pair: Pair) -> str:
    """The pipeline's slot."""
    row = pair.src.execute(
        "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
    ).fetchone()
    assert row is not None
    return str(row[0])


def drop_slot(pair: Pair, slot: str) -> None:
    """Drop a slot against the resistance of whoever uses it."""

    def gone() -> bool:
        pair.src.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", [slot]
        )
        try:
            pair.src.execute("SELECT pg_drop_replication_slot(%s)", [slot])
        except psycopg.errors.ObjectInUse:
            return False
        return True

    until(gone, 30, "dropping the slot")


def test_topic_deleted_and_made_again(lab: Lab, live: Pair) -> None:
    admin = AdminClient({"bootstrap.servers": lab.stack.settings.kafka})
    topics = [topic_of(live, "keyless"), topic_of(live, "keyed")]
    live.cli("pause", live.name)
    write(live, "in the topic that goes")
    for future in admin.delete_topics(topics).values():
        future.result()
    remake = [NewTopic(t, 1, 1) for t in topics]
    until(lambda: all(f.exception() is None for f in admin.create_topics(remake).values()), 30)
    live.cli("resume", live.name)
    said(live, "was deleted and made again")
    mended(live)


def test_topic_deleted_while_it_is_read(lab: Lab, live: Pair) -> None:
    admin = AdminClient({"bootstrap.servers": lab.stack.settings.kafka})
    for future in admin.delete_topics([topic_of(live, "keyless")]).values():
        future.result()
    said(live, "new cut")
    mended(live)


@pytest.mark.full
def test_transaction_that_is_never_ended(lab: Lab, live: Pair) -> None:
    """As KAFKA-20734 leaves one behind: readers of committed records see an end that is none."""
    settings = {"bootstrap.servers": lab.stack.settings.kafka, "transactional.id": "never"}
    producer = Producer(settings | {"transaction.timeout.ms": 600_000})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(topic_of(live, "keyless"), b"never seen")
    producer.flush()
    write(live, "behind the transaction")
    said(live, "is never ended", 120)
    producer.abort_transaction()
    mended(live)


def test_connector_deleted_by_hand(lab: Lab, live: Pair) -> None:
    rest = Rest(lab, live)
    assert rest.call("DELETE") == 204
    write(live, "while there is none")
    said(live, "was deleted")
    mended(live)
    assert Rest(lab, live).name != rest.name


@pytest.mark.parametrize("resumed", [False, True], ids=["stopped", "resumed"])
def test_offsets_deleted_by_hand(lab: Lab, live: Pair, resumed: bool) -> None:
    """Also when the connector is resumed before anybody looks: then it waits, and chooses no place itself."""
    rest = Rest(lab, live)
    # Else it may resume the connector before its offsets can be deleted.
    os.kill(lab.worker_pid(), signal.SIGSTOP)
    try:
        rest.call("PUT", "/stop")
        until(lambda: rest.call("DELETE", "/offsets") == 200, 60, "deleting the offsets")
        write(live, "without offsets")
        if resumed:
            assert rest.call("PUT", "/resume") == 202
            log = lab.stack.data / "logs" / "connect.log"
            until(lambda: rest.reads(live) or "before proceeding" in log.read_text(), 60, "the connector")
            write(live, "while it waits")
            if rest.reads(live):
                until(rest.offsets, 60, "its offsets")
    finally:
        os.kill(lab.worker_pid(), signal.SIGCONT)
    said(live, "new cut")
    mended(live)


def test_offsets_deleted_while_the_worker_resumes(lab: Lab, live: Pair) -> None:
    """Noticed, sooner or later: nothing is lost, and nothing comes twice."""
    for i in range(8):
        rest = Rest(lab, live)
        rest.call("PUT", "/stop")
        write(live, f"stopped {i}")
        answers = [rest.call("DELETE", "/offsets") for _ in range(30)]
        write(live, f"resumed {i}")
        if 200 in answers:
            live.canary()
    mended(live)


def test_slot_dropped_by_hand(live: Pair) -> None:
    drop_slot(live, slot_of(live))
    write(live, "without a slot")
    said(live, "is gone")
    mended(live)


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_slot_dropped_and_made_again_by_hand(live: Pair, stopped: bool) -> None:
    slot = slot_of(live)
    if stopped:
        live.cli("stop", live.name)
        live.wait("stopped")
    drop_slot(live, slot)
    write(live, "between two slots")
    live.src.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
    if stopped:
        live.cli("start", live.name)
    said(live, "new cut")
    mended(live)


def cut_tail(lab: Lab, topic: str, keep: Callable[[int], int]) -> None:
    """Take bytes off the newest segment of a topic whose broker is dead, and what would tell of them."""
    kafka = lab.stack.data / "kafka"
    folder = kafka / f"{topic}-0"
    newest = max(folder.glob("*.log"), key=lambda f: f.name)
    size = newest.stat().st_size
    assert size > 0
    os.truncate(newest, keep(size))
    for pattern in ("*.index", "*.timeindex", "*.txnindex", "*.snapshot"):
        for file in folder.glob(pattern):
            file.unlink()
    for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint", ".kafka_cleanshutdown"):
        Path(kafka / name).unlink(missing_ok=True)


def crash_with_lost_tail(lab: Lab, topic: str, keep: Callable[[int], int]) -> None:
    """The broker dies, and comes back without the end of a topic."""
    lab.kill("connect")
    lab.kill("kafka")
    cut_tail(lab, topic, keep)
    lab.restart("kafka")
    lab.restart("connect")


def test_applied_tail_lost(lab: Lab, live: Pair) -> None:
    live.equal(*TABLES)
    crash_with_lost_tail(lab, topic_of(live, "keyless"), lambda size: size // 2)
    said(live, "new cut")
    mended(live)


def test_tail_lost_before_it_was_applied(lab: Lab, live: Pair) -> None:
    live.equal(*TABLES)
    topic = topic_of(live, "keyless")
    live.cli("pause", live.name)
    live.wait("paused")
    segment = lab.stack.data / "kafka" / f"{topic}-0" / "00000000000000000000.log"
    applied, end = segment.stat().st_size, ends(lab, topic)
    write(live, "never applied")
    until(lambda: ends(lab, topic) > end + 30, 60, "the end of the topic")
    # Only what Headrace has seen there can be missed: it looks every moment, not at every record.
    until(lambda: heads(lab, live, topic) == ends(lab, topic), 30, "its being seen")
    crash_with_lost_tail(lab, topic, lambda _: applied)
    live.cli("resume", live.name)
    said(live, "new cut")
    mended(live)


def heads(lab: Lab, pair: Pair, topic: str) -> int:
    """Where Headrace remembers the topic to end."""
    from headrace.store import Store

    store = Store(lab.stack.settings)
    try:
        lag = store.pipeline(pair.name).lag or {}
        return int(lag.get("heads", {}).get(topic, ["", 0, 0])[1])
    finally:
        store.close()


def ends(lab: Lab, topic: str) -> int:
    """Where Kafka says that the topic ends."""
    from headrace.capture.topics import Topics
    from headrace.entering import cluster

    return Topics(cluster(lab.stack.settings)).ends([topic])[topic]
