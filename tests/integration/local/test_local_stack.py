"""The engine alone: captures with a secret from the folder, and goes on after both parts were killed."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from headrace.local.aot import CONNECTOR, NAME
from headrace.local.postgres import PostgresServer
from headrace.local.stack import Stack

Until = Callable[..., None]
TOPIC = f"{NAME}.public.t"


def events(kafka: str) -> int:
    """Number of committed events in the topic, 0 while it does not exist."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "x", "isolation.level": "read_committed"})
    try:
        if TOPIC not in consumer.list_topics(timeout=10).topics:
            return 0
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        found = 0
        while (message := consumer.poll(2)) is not None and not message.error():
            found += 1
        return found
    finally:
        consumer.close()


@pytest.mark.full
def test_captures_through_kills(until: Until) -> None:
    with (
        PostgresServer(fsync=False) as postgres,
        Stack() as stack,
        psycopg.connect(postgres.conninfo, autocommit=True) as db,
    ):
        db.execute("CREATE TABLE t (id serial PRIMARY KEY)")
        db.execute(f"CREATE PUBLICATION {NAME} FOR TABLE t")
        secrets = stack.settings.connect_secrets
        assert secrets
        (secrets / "shop.password").write_text(postgres.password or "")
        config = CONNECTOR | {
            "database.hostname": "127.0.0.1",
            "database.port": str(postgres.port),
            "database.user": "postgres",
            "database.password": f"${{dir:{secrets}:shop.password}}",
            "database.dbname": "postgres",
            "slot.retry.delay.ms": "1000",
            "producer.override.transaction.timeout.ms": "5000",
        }
        httpx.put(
            f"{stack.settings.connect}/connectors/{NAME}/config", json=config, timeout=60
        ).raise_for_status()
        active = b"SELECT 1 FROM pg_replication_slots WHERE active"
        until(lambda: db.execute(active).fetchone() is not None)
        db.execute("INSERT INTO t DEFAULT VALUES")
        until(lambda: events(stack.settings.kafka) == 1)
        for name in ("connect", "kafka"):
            stack.kill(name)
            assert not stack.services[name].alive
            db.execute("INSERT INTO t DEFAULT VALUES")
            stack.restart(name)
        until(lambda: events(stack.settings.kafka) == 3, 90)
