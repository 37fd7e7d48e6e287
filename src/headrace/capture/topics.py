"""Kafka topics: one partition per table, kept for ever, recognised by Kafka's own id."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from headrace.entering import Cluster, Ear
from headrace.errors import HeadraceError, Unavailable

SETTINGS = {
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "cleanup.policy": "delete",
    "max.message.bytes": str(128 * 1024 * 1024),
    "message.timestamp.type": "CreateTime",
}


@dataclass(frozen=True, slots=True)
class Head:
    """Where a topic ends: Kafka's id of it, the end offset (read committed), the epoch of its leader (-1: unknown)."""

    id: str
    end: int
    epoch: int


class Topics:
    """Admin side of one Kafka cluster. Every call raises Unavailable when it cannot be reached."""

    def __init__(self, kafka: Cluster, timeout: float = 15.0) -> None:
        self._kafka = kafka
        self._ear = Ear(kafka)
        own: dict[str, Any] = {
            "socket.timeout.ms": int(timeout * 1000),
            "log_level": 0,
            "error_cb": self._ear,
        }
        self._admin = AdminClient({**kafka.options(), **own})
        self._timeout = timeout

    def ids(self, names: Sequence[str]) -> dict[str, str]:
        """Kafka's id of each topic that exists."""
        if not names:
            return {}
        futures = self._call(
            self._admin.describe_topics, TopicCollection(list(names)), request_timeout=self._timeout
        )
        found = {}
        for name, future in futures.items():
            try:
                found[name] = str(self._result(future).topic_id)
            except NoTopic:
                continue
        return found

    def create(self, names: Iterable[str], replication: int = -1) -> None:
        """Make those that are missing, each with one partition."""
        new = [NewTopic(n, 1, replication, config=SETTINGS) for n in sorted(set(names))]
        if not new:
            return
        for future in self._call(
            self._admin.create_topics, new, operation_timeout=self._timeout, request_timeout=self._timeout
        ).values():
            try:
                self._result(future)
            except TopicExists:
                continue

    def delete(self, names: Sequence[str]) -> None:
        """Delete them; those that are gone are no error."""
        if not names:
            return
        for future in self._call(
            self._admin.delete_topics,
            list(names),
            operation_timeout=self._timeout,
            request_timeout=self._timeout,
        ).values():
            try:
                self._result(future)
            except NoTopic:
                continue

    def with_prefix(self, prefix: str) -> list[str]:
        """Names of all topics under a generation's prefix."""
        listed = self._call(self._admin.list_topics, timeout=self._timeout)
        return sorted(t for t in listed.topics if t.startswith(prefix + "."))

    def metadata(self) -> Any:
        """Metadata of the cluster as librdkafka has it."""
        return self._call(self._admin.list_topics, timeout=self._timeout)

    def listed(self, name: str | None = None) -> dict[str, Any]:
        """Metadata of all topics, or of one, as librdkafka has it."""
        only = {"topic": name} if name is not None else {}
        found: dict[str, Any] = self._call(self._admin.list_topics, timeout=self._timeout, **only).topics
        return found

    def partition_offsets(self, name: str, numbers: Sequence[int], spec: Any) -> dict[int, int]:
        """An offset (read committed) of each of these partitions."""
        futures = self._call(
            self._admin.list_offsets,
            {TopicPartition(name, n): spec for n in numbers},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=self._timeout,
        )
        return {p.partition: int(self._result(future).offset) for p, future in futures.items()}

    def settings(self, kind: Any, name: str) -> dict[str, str]:
        """Settings of a topic that somebody has set; secrets are never told by Kafka."""
        resource = ConfigResource(kind, name)
        (future,) = self._call(
            self._admin.describe_configs, [resource], request_timeout=self._timeout
        ).values()
        found = self._result(future)
        return {n: str(entry.value) for n, entry in sorted(found.items()) if not entry.is_default}

    def ends(self, names: Sequence[str]) -> dict[str, int]:
        """End offset (read committed: the last stable offset) of each topic."""
        return self._offsets(names, OffsetSpec.latest())

    def unfinished(self, names: Sequence[str]) -> dict[str, int]:
        """Topics whose end is still part of a transaction, with the offset where the oldest of these begins."""
        stable = self.ends(names)
        last = self._offsets(names, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
        return {name: at for name, at in stable.items() if at < last.get(name, at)}

    def starts(self, names: Sequence[str]) -> dict[str, int]:
        """First offset still kept of each topic."""
        return self._offsets(names, OffsetSpec.earliest())

    def trim(self, before: dict[str, int]) -> None:
        """Delete records below the given offset of each topic."""
        if not before:
            return
        asked = [TopicPartition(t, 0, o) for t, o in before.items()]
        for future in self._call(self._admin.delete_records, asked, request_timeout=self._timeout).values():
            self._result(future)

    def groups(self) -> list[dict[str, Any]]:
        """``{"group", "state", "members", "lag"}`` of every consumer group; lag: records not read of what it reads."""
        listed = self._result(
            self._call(self._admin.list_consumer_groups, request_timeout=self._timeout)
        ).valid
        names = sorted(g.group_id for g in listed)
        if not names:
            return []
        described = self._call(self._admin.describe_consumer_groups, names, request_timeout=self._timeout)
        found = [self._result(described[name]) for name in names]
        return [
            {
                "group": g.group_id,
                "state": g.state.name.lower(),
                "members": len(g.members),
                "lag": self._lag(g.group_id),
            }
            for g in found
        ]

    def _lag(self, group: str) -> int:
        asked = [ConsumerGroupTopicPartitions(group)]
        (answer,) = self._call(
            self._admin.list_consumer_group_offsets, asked, request_timeout=self._timeout
        ).values()
        read: dict[str, dict[int, int]] = defaultdict(dict)
        for p in self._result(answer).topic_partitions:
            if p.offset >= 0:
                read[p.topic][p.partition] = p.offset
        left = 0
        for topic, offsets in read.items():
            with suppress(NoTopic):
                ends = self.partition_offsets(topic, list(offsets), OffsetSpec.latest())
                left += sum(max(end - offsets[number], 0) for number, end in ends.items())
        return left

    def forget_group(self, group: str) -> None:
        """Delete a consumer group; one that is gone is no error."""
        for future in self._call(
            self._admin.delete_consumer_groups, [group], request_timeout=self._timeout
        ).values():
            try:
                self._result(future)
            except (NoGroup, Unavailable):
                continue

    def heads(self, names: Sequence[str]) -> dict[str, Head]:
        """Id, end (as ``ends``) and leader epoch of each topic that exists."""
        ids, found = self.ids(names), self._listed(names, OffsetSpec.latest())
        return {n: Head(ids[n], int(f.offset), _epoch(f.leader_epoch)) for n, f in found.items() if n in ids}

    def _offsets(
        self, names: Sequence[str], spec: Any, isolation: Any = IsolationLevel.READ_COMMITTED
    ) -> dict[str, int]:
        return {name: int(found.offset) for name, found in self._listed(names, spec, isolation).items()}

    def _listed(
        self, names: Sequence[str], spec: Any, isolation: Any = IsolationLevel.READ_COMMITTED
    ) -> dict[str, Any]:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return self._listed_now(names, spec, isolation)
            except NoLeader:
                # A topic that was just made has its leader a moment later, after a restart it is led anew.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
                # The client asks for leaders only every few minutes by itself.
                self._call(self._admin.list_topics, timeout=self._timeout)

    def _listed_now(self, names: Sequence[str], spec: Any, isolation: Any) -> dict[str, Any]:
        if not names:
            return {}
        futures = self._call(
            self._admin.list_offsets,
            {TopicPartition(n, 0): spec for n in names},
            isolation_level=isolation,
            request_timeout=self._timeout,
        )
        found = {}
        for partition, future in futures.items():
            try:
                found[partition.topic] = self._result(future)
            except NoTopic:
                continue
        return found

    def _call(self, verb: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return verb(*args, **kwargs)
        except KafkaException as error:
            raise self._error(error) from error

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result(timeout=self._timeout + 5)
        except KafkaException as error:
            raise self._error(error) from error

    def _error(self, error: KafkaException) -> HeadraceError:
        self._admin.poll(0)
        return kafka_error(error, self._kafka, self._ear)


def _epoch(told: int | None) -> int:
    return -1 if told is None else int(told)


class NoTopic(HeadraceError):
    """The topic does not exist."""

    kind = "not_found"


class NoLeader(Unavailable):
    """A partition has no leader at the moment."""


class NoGroup(HeadraceError):
    """The consumer group does not exist."""

    kind = "not_found"


class TopicExists(HeadraceError):
    """The topic exists already."""

    kind = "conflict"


_NO_LEADER = (
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
)


def kafka_error(error: KafkaException, kafka: Cluster, ear: Ear) -> HeadraceError:
    """The Headrace error for one of librdkafka's. ear: of the client, which may know why it cannot reach Kafka."""
    inner = error.args[0]
    code, text = (inner.code(), inner.str()) if isinstance(inner, KafkaError) else (None, str(inner))
    if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID, KafkaError._UNKNOWN_TOPIC):
        return NoTopic("no_such_topic", text, "The topic was deleted; the table needs a resync.")
    if code in _NO_LEADER or "No leaders found" in text:
        return NoLeader("no_leader", f"Kafka at {kafka}: {text}", "It is tried again.")
    if code == KafkaError.TOPIC_ALREADY_EXISTS:
        return TopicExists("topic_exists", text)
    if code == KafkaError.GROUP_ID_NOT_FOUND:
        return NoGroup("no_such_group", text)
    return ear.heard or Unavailable(
        "kafka_unreachable",
        f"Kafka at {kafka}: {text}",
        "Check that Kafka runs (`headrace status`) and can be reached.",
        {"code": code},
    )
