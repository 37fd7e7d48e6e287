"""Topics and their messages through the API, against a real Kafka."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.cimpl import NewTopic

from headrace.capture.topics import Topics
from headrace.entering import Cluster
from headrace.local.stack import Stack


@pytest.fixture(scope="module")
def topic(stack: Stack) -> str:
    """A topic of two partitions with JSON, text, bytes, tombstones and a transaction's markers in it."""
    admin = Topics(Cluster(stack.settings.kafka))
    for future in admin._admin.create_topics([NewTopic("look", 2, 1)]).values():
        future.result(10)
    producer = Producer({"bootstrap.servers": stack.settings.kafka, "transactional.id": "look"})
    producer.init_transactions()
    producer.begin_transaction()
    for n in range(30):
        producer.produce("look", f'{{"n": {n}}}', f"k{n % 3}", partition=0, headers={"h": str(n)})
    producer.produce("look", "plain text", None, partition=1)
    producer.produce("look", b"\xff\x00\x01", b"\xfe", partition=1)
    producer.produce("look", None, "gone", partition=1)
    producer.produce("look", b"x" * 300_000, "large", partition=1)
    producer.produce("look", "\x00\x00\x00\x00\x07no schema", "avro?", partition=1)
    producer.produce("look", "seven", '{"id":7,"at":null}', partition=1)
    producer.commit_transaction()
    producer.begin_transaction()
    producer.produce("look", '{"n": "never"}', "k0", partition=0)
    producer.abort_transaction()
    return "look"


def numbers(answer: httpx.Response) -> list[Any]:
    """The n of each message."""
    assert answer.status_code == 200, answer.text
    return [m["value"]["data"]["n"] for m in answer.json()["items"]]


def test_the_newest_from_an_offset_and_of_a_key(api: httpx.Client, topic: str) -> None:
    where = f"topics/{topic}/messages"
    assert numbers(api.get(where, params={"partition": 0, "limit": 3})) == [29, 28, 27]
    assert numbers(api.get(where, params={"partition": 0, "limit": 3, "offset": 10})) == [10, 11, 12]
    assert numbers(api.get(where, params={"key": "k1", "limit": 2})) == [28, 25]
    assert numbers(api.get(where, params={"offset": 10**9, "partition": 0})) == []
    for key in ('{"id":7,"at":null}', '{"at": null, "id": 7}'):
        (found,) = api.get(where, params={"key": key}).json()["items"]
        assert found["value"]["data"] == "seven"
    assert api.get(where, params={"key": '{"id": 8}'}).json()["items"] == []
    one = api.get(where, params={"partition": 0, "limit": 1}).json()["items"][0]
    assert (one["key"], one["headers"]) == (
        {"format": "text", "data": "k2", "bytes": 2, "schema_id": None, "reason": None},
        [{"name": "h", "value": "29"}],
    )


def test_what_a_value_was_is_told(api: httpx.Client, topic: str) -> None:
    found = api.get(f"topics/{topic}/messages", params={"partition": 1, "offset": 0}).json()["items"]
    assert [m["value"]["format"] for m in found] == ["text", "binary", "null", "too_large", "text", "text"]
    assert found[1]["value"]["data"] == "ff0001"


def test_topics_are_listed(api: httpx.Client, topic: str) -> None:
    assert [t["name"] for t in api.get("topics", params={"q": "LOOK"}).json()["items"]] == ["look"]
    assert not any(t["name"].startswith("__") for t in api.get("topics").json()["items"])
    assert api.get("topics", params={"internal": True, "q": "__transaction_state"}).json()["total"] == 1
    one = api.get(f"topics/{topic}").json()
    assert [p["partition"] for p in one["partitions"]] == [0, 1]
    assert one["partitions"][0]["end"] >= 30


def test_what_is_not_there(api: httpx.Client, topic: str) -> None:
    for path, code in (
        ("topics/nothing", "no_such_topic"),
        ("topics/nothing/messages", "no_such_topic"),
        (f"topics/{topic}/messages?partition=9", "no_such_partition"),
        ("schema-registry/subjects", "no_registry"),
    ):
        answer = api.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, code)


def test_consumer_groups_and_what_they_have_not_read(api: httpx.Client, stack: Stack, topic: str) -> None:
    consumer = Consumer({"bootstrap.servers": stack.settings.kafka, "group.id": "readers"})
    consumer.commit(offsets=[TopicPartition(topic, 0, 10)], asynchronous=False)
    end = api.get(f"topics/{topic}").json()["partitions"][0]["end"]
    consumer.close()
    (found,) = api.get("monitoring/consumer-groups", params={"q": "READ"}).json()["items"]
    assert found == {"group": "readers", "state": "empty", "members": 0, "lag": end - 10}
