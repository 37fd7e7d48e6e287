"""Debezium's PostgreSQL connector with Debezium's JDBC sink, as their documentation sets them up.

What upserts and deletes need is set; what only makes things quicker is left at its default.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from bench.ground import TABLE, Ends, Ground, until

NAME = "Debezium + JDBC sink"
JSON = {
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "key.converter.schemas.enable": "true",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter.schemas.enable": "true",
}


class Pair:
    """A source connector and a sink connector between two databases."""

    def __init__(self, ground: Ground, ends: Ends) -> None:
        self._ground, self._ends = ground, ends
        self._id = f"jdbc{secrets.token_hex(4)}"
        self._topic = f"{self._id}.public.{TABLE}"
        self._http = httpx.Client(base_url=ground.stack.settings.connect, timeout=60, trust_env=False)
        self._admin = AdminClient({"bootstrap.servers": ground.stack.settings.kafka})
        self._admin.create_topics([NewTopic(self._topic, 1, 1)])[self._topic].result(30)

    @property
    def names(self) -> tuple[str, str]:
        """Source and sink."""
        return f"{self._id}-source", f"{self._id}-sink"

    def create(self, snapshot: str) -> None:
        """Create both. snapshot: Debezium's ``snapshot.mode``."""
        source, target = self._ground.source, self._ground.target
        first, second = self.names
        self._put(
            first,
            {
                "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
                "database.hostname": "127.0.0.1",
                "database.port": source.port,
                "database.user": "postgres",
                "database.password": source.password,
                "database.dbname": self._ends.source,
                "topic.prefix": self._id,
                "plugin.name": "pgoutput",
                "slot.name": self._id,
                "publication.name": self._id,
                "publication.autocreate.mode": "filtered",
                "table.include.list": f"public.{TABLE}",
                "snapshot.mode": snapshot,
                "topic.creation.default.replication.factor": 1,
                "topic.creation.default.partitions": 1,
                **JSON,
            },
        )
        self._put(
            second,
            {
                "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
                "topics": self._topic,
                "connection.url": f"jdbc:postgresql://127.0.0.1:{target.port}/{self._ends.target}",
                "connection.username": "postgres",
                "connection.password": target.password,
                "insert.mode": "upsert",
                "primary.key.mode": "record_key",
                "delete.enabled": "true",
                "schema.evolution": "none",
                "collection.name.format": "public.${source.table}",
                **JSON,
            },
        )

    def running(self) -> None:
        """Wait until both tasks run."""
        for name in self.names:
            self._wait(name, ["RUNNING"])

    def stop(self) -> None:
        """Stop both, orderly; returns when no task is left."""
        for name in self.names:
            self._http.put(f"/connectors/{name}/stop").raise_for_status()
        for name in self.names:
            self._wait(name, [])

    def resume(self) -> None:
        """Start both again."""
        for name in self.names:
            self._http.put(f"/connectors/{name}/resume").raise_for_status()

    def remove(self) -> None:
        """Delete connectors, slot, publication and topic."""
        for name in self.names:
            self._http.delete(f"/connectors/{name}")
        self._http.close()
        self._admin.delete_topics([self._topic])[self._topic].result(30)
        source = self._ground.source
        until(lambda: not self._slot("active"), 60, "the end of the walsender")
        if self._slot("true"):
            self._ground.sql(source, self._ends.source, f"SELECT pg_drop_replication_slot('{self._id}')")
        self._ground.sql(source, self._ends.source, f"DROP PUBLICATION IF EXISTS {self._id}")

    def _slot(self, condition: str) -> list[Any]:
        query = f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{self._id}' AND {condition}"
        return self._ground.sql(self._ground.source, self._ends.source, query)

    def _put(self, name: str, config: dict[str, object]) -> None:
        body = {key: str(value) for key, value in config.items()}
        self._http.put(f"/connectors/{name}/config", json=body).raise_for_status()

    def _wait(self, name: str, states: list[str]) -> None:
        until(lambda: self._states(name) == states, 120, f"{name} with tasks {states}", 0.1)

    def _states(self, name: str) -> list[str]:
        answer = self._http.get(f"/connectors/{name}/status")
        if not answer.is_success:
            return ["UNKNOWN"]
        return [task["state"] for task in answer.json()["tasks"]]


@contextmanager
def pair(ground: Ground, ends: Ends) -> Iterator[Pair]:
    """Both connectors' names and topic; nothing of them is left afterwards."""
    made = Pair(ground, ends)
    try:
        yield made
    finally:
        made.remove()
