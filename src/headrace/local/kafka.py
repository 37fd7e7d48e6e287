"""The embedded Kafka broker: one KRaft node on 127.0.0.1, formatted on its first start."""

from __future__ import annotations

import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from headrace.errors import Unavailable
from headrace.local.fence import fence
from headrace.local.jvm import ENVIRONMENT, Program, write_config
from headrace.local.ports import HOST, answers, free_port
from headrace.local.process import Service

MESSAGE_BYTES = 128 << 20
HEAP_MB = 512


def kafka_service(
    data: Path, port: int, settings: Mapping[str, object] | None = None, record: Path | None = None
) -> Service:
    """The broker with its log in ``data/kafka``; ``settings`` override server properties, ``record`` as in Program."""
    logs = data / "logs"
    config = data / "kafka.properties"

    def properties() -> dict[str, object]:
        return server_properties(data, port, free_port()) | dict(settings or {})

    def command() -> list[str]:
        write_config(config, properties())
        _format(data, config, logs)
        return Program("kafka", "kafka.Kafka", [str(config)], HEAP_MB, logs, record=record).command()

    return Service(
        name="kafka",
        command=command,
        healthy=lambda: reachable(port),
        log=logs / "kafka.out",
        env=ENVIRONMENT,
        url=f"{HOST}:{port}",
        before=lambda: fence(data, properties()),
        start_seconds=300,  # after a power loss it checks its segments
        stop_seconds=60 if record else 20,
    )


def server_properties(data: Path, port: int, controller_port: int) -> dict[str, object]:
    """Broker settings. Every batch is flushed to disk before it is acknowledged, and nothing is ever dropped by age."""
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": data / "kafka",
        "auto.create.topics.enable": False,
        "num.partitions": 1,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "offsets.retention.minutes": 5_256_000,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "log.flush.interval.messages": 1,
        "log.retention.ms": -1,
        "log.retention.bytes": -1,
        "log.segment.bytes": 256 << 20,
        "log.cleaner.dedupe.buffer.size": 8 << 20,
        "message.max.bytes": MESSAGE_BYTES,
        "replica.fetch.max.bytes": MESSAGE_BYTES,
        "socket.request.max.bytes": 2 * MESSAGE_BYTES,
    }


def reachable(port: int) -> bool:
    """Whether the broker answers a metadata request."""
    if not answers(port):
        return False
    client = AdminClient(
        {"bootstrap.servers": f"{HOST}:{port}", "log_level": 0, "log.connection.close": False}
    )
    try:
        return bool(client.list_topics(timeout=2).brokers)
    except KafkaException:
        return False


def cluster_id() -> str:
    """A random UUID as Kafka writes it, never with a leading dash, which its tools take for an option."""
    first, *rest = uuid.uuid4().bytes
    return urlsafe_b64encode(bytes([first & 0x7F, *rest])).decode().rstrip("=")


def _format(data: Path, config: Path, logs: Path) -> None:
    if (data / "kafka" / "meta.properties").exists():
        return
    words = ["format", "--cluster-id", cluster_id(), "--config", str(config), "--ignore-formatted"]
    quick = ["-XX:TieredStopAtLevel=1"]
    tool = Program("kafka-format", "kafka.tools.StorageTool", words, 128, logs, quick, cache="kafka")
    done = subprocess.run(tool.command(), capture_output=True, text=True, check=False, timeout=120)  # nosec B603  # our own words, no shell
    if done.returncode:
        raise Unavailable(
            "kafka_format",
            f"The Kafka log in {data / 'kafka'} could not be prepared.",
            "Check space and rights of the data folder.",
            {"output": (done.stdout + done.stderr)[-2000:]},
        )
