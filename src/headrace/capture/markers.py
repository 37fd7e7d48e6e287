"""Markers: proof that everything committed on the source before them has come out of Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from headrace.capture.topics import kafka_error
from headrace.entering import Cluster, Ear
from headrace.errors import Conflict, Unavailable

# Reading committed only, never moving on its own: the same for everything that consumes.
CONSUMER = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 5,
    # Compressed; taken apart it may be a hundred times as much, all at once.
    "fetch.message.max.bytes": 256 * 1024,
    "fetch.max.bytes": 1024 * 1024,
    "queued.max.messages.kbytes": 32 * 1024,
    "receive.message.max.bytes": 300 * 1024 * 1024,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "log_level": 0,
}


class Reader(Consumer):
    """A consumer that is assigned by hand and starts exactly where it is told.

    ear: hears, while messages are asked for, why Kafka does not let it in; messages just do not come then.
    """

    def __init__(self, kafka: Cluster, group: str, **more: object) -> None:
        self.ear = Ear(kafka)
        own = {"group.id": group, "error_cb": self.ear}
        super().__init__({**CONSUMER, **kafka.options(), **own, **more})


def await_marker(
    kafka: Cluster,
    topic: str,
    emit: Callable[[], str],
    text_of: Callable[[bytes], str | None],
    *,
    timeout: float = 60.0,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Emit a marker and wait until it is read, committed, from ``topic``.

    Raises Unavailable after ``timeout`` seconds; Conflict when ``stop`` asks to.
    """
    reader = Reader(kafka, "headrace-markers")
    try:
        reader.assign([TopicPartition(topic, 0, _end(reader, kafka, topic))])
        wanted = emit()
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if stop():
                raise Conflict("stopped", "stopped while waiting for a marker")
            message = reader.poll(0.2)
            if message is None:
                reader.ear.require_entered()
                continue
            if message.error() or (value := message.value()) is None:
                continue
            if text_of(value) == wanted:
                return
    finally:
        reader.close()
    raise Unavailable(
        "marker_late",
        f"a marker written on the source did not come out of Kafka within {timeout:.0f} s",
        "Check the connector (`headrace status NAME`, Kafka Connect's log).",
    )


def _end(reader: Reader, kafka: Cluster, topic: str) -> int:
    """Where the topic ends; an error soon where we are not let in."""
    for last, seconds in ((False, 3.0), (True, 12.0)):
        try:
            _, end = reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=seconds)
            return end
        except KafkaException as error:
            reader.poll(0)
            if last or reader.ear.heard:
                raise kafka_error(error, kafka, reader.ear) from error
    raise AssertionError


def await_first(
    kafka: Cluster,
    topic: str,
    wanted: str,
    text_of: Callable[[bytes], str | None],
    *,
    timeout: float = 600.0,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until the marker ``wanted`` is found, committed, reading ``topic`` from its beginning.

    Raises Unavailable after ``timeout`` seconds: a connector that did not begin where it should have never
    brings it.
    """
    reader = Reader(kafka, "headrace-markers")
    try:
        reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if stop():
                raise Conflict("stopped", "stopped while waiting for the first marker")
            message = reader.poll(0.2)
            if message is None:
                reader.ear.require_entered()
                continue
            if message.error() or (value := message.value()) is None:
                continue
            if text_of(value) == wanted:
                return
    except KafkaException as error:
        raise kafka_error(error, kafka, reader.ear) from error
    finally:
        reader.close()
    raise Unavailable(
        "marker_late",
        f"the first marker did not come out of Kafka within {timeout:.0f} s",
        "Check the connector (`headrace status NAME`, Kafka Connect's log).",
    )
