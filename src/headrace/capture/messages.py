"""Looking into topics: which there are, and messages in them, newest first, from an offset on, or of a key."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec  # type: ignore[attr-defined]

from headrace.capture.decoding import Shown
from headrace.capture.markers import Reader
from headrace.capture.topics import Topics, kafka_error
from headrace.entering import Cluster, reachable
from headrace.errors import NotFound, Unavailable

JSON = dict[str, Any]
_SECONDS = 10.0
_REACH_SECONDS = 1.5
# A message is looked at, not exported.
_MOST_BYTES = 256 * 1024
_SCAN = 200_000

Decode = Callable[[bytes], Shown]
# Bytes; of too many, how many.
_Held = bytes | int | None


@dataclass(frozen=True, slots=True)
class _Read:
    """A message without what is too large to be shown."""

    partition: int
    offset: int
    timestamp: int | None
    key: _Held
    value: _Held
    headers: list[JSON]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages. partition: None for all. offset: the first; None for the newest. key: only of that key, as text."""

    limit: int
    partition: int | None = None
    offset: int | None = None
    key: str | None = None


class Looking:
    """Reads topics of one cluster without moving anybody's position. Threads may share it."""

    def __init__(self, kafka: Cluster) -> None:
        self._kafka = kafka
        self._made: Topics | None = None

    @property
    def _topics(self) -> Topics:
        require_reachable(self._kafka)
        # Made when it is first asked for: a wrong setting is told by the call, not by the start.
        if self._made is None:
            self._made = Topics(self._kafka, timeout=_SECONDS)
        return self._made

    def topics(self) -> list[JSON]:
        """All topics with their partitions: ``{"name", "partitions", "replication", "internal"}``."""
        listed = self._topics.listed()
        return [
            {
                "name": name,
                "partitions": len(found.partitions),
                "replication": max((len(p.replicas) for p in found.partitions.values()), default=0),
                "internal": name.startswith("__"),
            }
            for name, found in sorted(listed.items())
        ]

    def groups(self) -> list[JSON]:
        """As ``Topics.groups``."""
        return self._topics.groups()

    def topic(self, name: str) -> JSON:
        """One topic: its partitions with offsets, and its settings that are not the default; NotFound."""
        found = self._one(name)
        bounds = self._bounds(name, sorted(found.partitions))
        partitions = [
            {
                "partition": number,
                "leader": part.leader,
                "replicas": list(part.replicas),
                "in_sync": list(part.isrs),
                "begin": bounds[number][0],
                "end": bounds[number][1],
            }
            for number, part in sorted(found.partitions.items())
        ]
        return {
            "name": name,
            "partitions": partitions,
            "messages": sum(p["end"] - p["begin"] for p in partitions),
            "settings": self._topics.settings(ConfigResource.Type.TOPIC, name),
        }

    def messages(self, name: str, wanted: Wanted, decode: Decode) -> list[JSON]:
        """Messages, the newest first unless an offset is given; as many as come within ten seconds.

        A key that is asked for is looked for in the newest 200,000 messages of each partition.
        """
        found = self._one(name)
        numbers = sorted(found.partitions)
        if wanted.partition is not None:
            if wanted.partition not in found.partitions:
                raise NotFound(
                    "no_such_partition", f"{name} has no partition {wanted.partition}", "See the topic."
                )
            numbers = [wanted.partition]
        spans = {n: self._span(wanted, *at) for n, at in self._bounds(name, numbers).items()}
        read = self._messages(name, {n: s for n, s in spans.items() if s[0] < s[1]}, wanted)
        # No more of them at a time than are shown: they may be large.
        raw = list(read) if wanted.offset is not None else heapq.nlargest(wanted.limit, read, key=_age)
        return [_message(m, decode) for m in raw[: wanted.limit]]

    def _span(self, wanted: Wanted, begin: int, end: int) -> tuple[int, int]:
        if wanted.offset is not None:
            return max(begin, min(wanted.offset, end)), end
        # Markers of transactions take offsets and are no messages.
        back = _SCAN if wanted.key is not None else wanted.limit * 2 + 10
        return max(begin, end - back), end

    def _messages(self, name: str, spans: dict[int, tuple[int, int]], wanted: Wanted) -> Iterator[_Read]:
        until = time.monotonic() + _SECONDS
        left = dict(spans)
        with self._reader() as reader:
            reader.assign([TopicPartition(name, n, begin) for n, (begin, _) in spans.items()])
            taken = 0
            while left and time.monotonic() < until:
                found = reader.consume(500, 0.5)
                if not found:
                    reader.ear.require_entered()
                for message in found:
                    number = message.partition()
                    if (error := message.error()) is not None:
                        if error.code() != KafkaError._PARTITION_EOF:
                            raise kafka_error(KafkaException(error), self._kafka, reader.ear)
                        left.pop(number, None)
                        continue
                    if message.offset() >= spans[number][1] - 1:
                        left.pop(number, None)
                    if wanted.key is None or _is_key(message.key(), wanted.key):
                        taken += 1
                        yield _read(message)
                        if wanted.offset is not None and taken >= wanted.limit:
                            return

    @contextmanager
    def _reader(self) -> Iterator[Any]:
        reader = Reader(self._kafka, "headrace-look", **{"enable.partition.eof": True})
        try:
            yield reader
        except KafkaException as error:
            raise kafka_error(error, self._kafka, reader.ear) from error
        finally:
            reader.close()

    def _one(self, name: str) -> Any:
        found = self._topics.listed(name).get(name)
        if found is None or found.error is not None:
            raise NotFound("no_such_topic", f"There is no topic {name}", "Compare the name with the list.")
        return found

    def _bounds(self, name: str, numbers: list[int]) -> dict[int, tuple[int, int]]:
        begins = self._topics.partition_offsets(name, numbers, OffsetSpec.earliest())
        ends = self._topics.partition_offsets(name, numbers, OffsetSpec.latest())
        return {n: (begins[n], ends[n]) for n in numbers}


def require_reachable(kafka: Cluster) -> None:
    """Unavailable ``kafka_unreachable`` at once, where librdkafka would try for its whole time-out."""
    if not reachable(str(kafka), _REACH_SECONDS):
        raise Unavailable(
            "kafka_unreachable",
            f"Kafka at {kafka} does not answer",
            "Check that Kafka runs (`headrace status`) and can be reached.",
        )


def _read(message: Any) -> _Read:
    kind, at = message.timestamp()
    headers = [{"name": k, "value": _text(v)} for k, v in message.headers() or []]
    key, value = _held(message.key()), _held(message.value())
    return _Read(message.partition(), message.offset(), at if kind else None, key, value, headers)


def _held(value: bytes | None) -> _Held:
    return value if value is None or len(value) <= _MOST_BYTES else len(value)


def _age(message: _Read) -> tuple[int, int]:
    return message.timestamp or 0, message.offset


def _message(message: _Read, decode: Decode) -> JSON:
    return {
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp,
        "key": _shown(message.key, decode),
        "value": _shown(message.value, decode),
        "headers": message.headers,
    }


def _shown(value: _Held, decode: Decode) -> JSON:
    if isinstance(value, bytes):
        shown, length = decode(value), len(value)
    else:
        shown, length = Shown("null" if value is None else "too_large", None), value or 0
    return {
        "format": shown.format,
        "data": shown.data,
        "bytes": length,
        "schema_id": shown.schema_id,
        "reason": shown.reason,
    }


def _is_key(value: bytes | None, wanted: str) -> bool:
    """Whether a message's key is that text, or the same in JSON."""
    if (text := _text(value)) is None or text == wanted or wanted[:1] not in "{[":
        return text == wanted
    try:
        return bool(orjson.loads(text) == orjson.loads(wanted))
    except ValueError:
        return False


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")
