"""The broker is killed while a transaction is committed: it is committed as a whole, and the log goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from headrace.capture.topics import Topics
from headrace.entering import Cluster
from headrace.local.fence import fenced
from headrace.local.folder import prepare
from headrace.local.kafka import kafka_service
from headrace.local.ports import free_port
from headrace.local.process import Service

Until = Callable[..., None]
# As many markers take the coordinator longer to write than it takes us to kill it.
TOPICS = [f"t{i}" for i in range(150)]


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[Service]:
    prepare(tmp_path)
    service = kafka_service(tmp_path, free_port())
    try:
        service.start()
        service.wait_healthy()
        yield service
    finally:
        service.stop()


def producer(kafka: Service) -> Producer:
    made = Producer({"bootstrap.servers": kafka.url, "transactional.id": "t", "log_level": 0})
    made.init_transactions(30)
    return made


def committed(kafka: Service) -> list[int]:
    """Committed records of each topic, as a reader meets them."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.url,
            "group.id": "g",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(t, 0, 0) for t in TOPICS])
    found, ended = dict.fromkeys(TOPICS, 0), set()
    while len(ended) < len(TOPICS):
        message = consumer.poll(20)
        assert message is not None, "the log hangs"
        if message.error():
            ended.add(message.topic())
        else:
            found[str(message.topic())] += 1
    consumer.close()
    return list(found.values())


def killed_while_it_commits(kafka: Service, delay: float) -> None:
    """One record into each topic, and SIGKILL ``delay`` seconds after the commit was asked for."""
    dying = producer(kafka)
    dying.begin_transaction()
    for topic in TOPICS:
        dying.produce(topic, b"x")
    dying.flush()

    def commit() -> None:
        with suppress(KafkaException):
            dying.commit_transaction(5)

    thread = threading.Thread(target=commit)
    thread.start()
    thread.join(delay)
    kafka.kill()
    thread.join()
    kafka.start()
    kafka.wait_healthy()


def test_transaction_under_way_when_the_broker_is_killed(kafka: Service, until: Until) -> None:
    topics = Topics(Cluster(kafka.url))
    topics.create(TOPICS)
    # Between the decision to commit and the last marker.
    for delay in (0.03, 0.05):
        killed_while_it_commits(kafka, delay)
        # The next life of a producer waits for what its last one has begun.
        producer(kafka)
        until(lambda: topics.unfinished(TOPICS) == {})
        assert len(set(committed(kafka))) == 1


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", False),
        ("Becoming the active controller", True),
        ("RegisterBrokerRecord(brokerId=1, fenced=true, x=1)", False),
        ("RegisterBrokerRecord(brokerId=1, fenced=true, x=1)\nBecoming the active controller", True),
        ("RegisterBrokerRecord(brokerId=1, fenced=false, x=1)\nBecoming the active controller", False),
        ("BrokerRegistrationChangeRecord(fenced=-1, x=0)\nBecoming the active controller", False),
        (
            "BrokerRegistrationChangeRecord(fenced=-1, x=0)\nBecoming the active controller\n"
            "BrokerRegistrationChangeRecord(fenced=1, x=0)\nBrokerRegistrationChangeRecord(fenced=0, x=1)",
            True,
        ),
    ],
)
def test_controller_tells_when_the_dead_broker_is_fenced(tmp_path: Path, lines: str, expected: bool) -> None:
    told = tmp_path / "log"
    told.write_text(lines)
    assert fenced(told) is expected
