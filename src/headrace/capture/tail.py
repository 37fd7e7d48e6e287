"""Whether a topic still has all that was seen of it.

Where a topic ended is remembered, with the leader's epoch. An end that goes back, or an epoch whose records end
below what was seen of them, means that records are gone, even when new ones have filled their place.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from confluent_kafka import KafkaError, TopicPartition

from headrace.capture.markers import Reader
from headrace.capture.topics import Head
from headrace.entering import Cluster
from headrace.errors import Unavailable


def why_shorter(kafka: Cluster, topic: str, before: Head, now: Head | None) -> str | None:
    """What tells that records seen ``before`` are gone now, None when nothing does."""
    if now is None:
        return f"topic {topic} is gone"
    if now.id != before.id:
        return f"topic {topic} was deleted and made again"
    if now.end < before.end:
        return f"topic {topic} ended at {before.end} and now ends at {now.end}"
    if now.epoch != before.epoch and before.epoch >= 0 and _truncated(kafka, topic, before):
        return f"topic {topic} ended at {before.end}; what was there at its end is gone"
    return None


def _truncated(kafka: Cluster, topic: str, before: Head) -> bool:
    """Ask the broker where the epoch of ``before`` ended, as every consumer does that continues after a new leader."""
    reader = Reader(kafka, "headrace-check", **{"enable.partition.eof": True})
    try:
        reader.assign([TopicPartition(topic, 0, before.end, leader_epoch=before.epoch)])
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            message = reader.poll(1.0)
            if message is None:
                reader.ear.require_entered()
                continue
            if (error := message.error()) is None or error.code() == KafkaError._PARTITION_EOF:
                return False
            if error.code() in _GONE:
                return True
    finally:
        reader.close()
    raise Unavailable("kafka_slow", f"the end of {topic} could not be read", "Check Kafka.")


_GONE = (KafkaError._LOG_TRUNCATION, KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


def as_json(heads: Mapping[str, Head]) -> dict[str, list[str | int]]:
    """The form the store keeps."""
    return {topic: [h.id, h.end, h.epoch] for topic, h in heads.items()}


def from_json(raw: Mapping[str, list[str | int]] | None) -> dict[str, Head]:
    """What ``as_json`` gave."""
    return {topic: Head(str(h[0]), int(h[1]), int(h[2])) for topic, h in (raw or {}).items()}
