"""The embedded Kafka Connect worker with Debezium's PostgreSQL connector, on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx

from headrace.local.fetch import plugins
from headrace.local.java_login import worker_security
from headrace.local.jvm import ENVIRONMENT, Program, beside, write_config
from headrace.local.kafka import MESSAGE_BYTES
from headrace.local.ports import HOST, answers
from headrace.local.process import Service
from headrace.settings import KafkaSecurity

HEAP_MB = 768


def connect_service(
    data: Path,
    port: int,
    kafka: str,
    *,
    groups: Iterable[str] = ("debezium-postgres",),
    settings: Mapping[str, object] | None = None,
    record: Path | None = None,
    security: KafkaSecurity | None = None,
) -> Service:
    """The worker; ``groups`` of the lock are its plugins, ``settings`` override worker properties.

    security: how it enters Kafka. What of it is secret stands in ``data/connect.properties`` (mode 0600) and in no
    folder of a ConfigProvider, for every connector may ask those.
    """
    logs = data / "logs"
    config = data / "connect.properties"

    def command() -> list[str]:
        given = worker_properties(data, port, kafka, plugins(beside(groups)))
        write_config(config, given | worker_security(security or KafkaSecurity()) | dict(settings or {}))
        main = "org.apache.kafka.connect.cli.ConnectDistributed"
        return Program("connect", main, [str(config)], HEAP_MB, logs, record=record).command()

    return Service(
        name="connect",
        command=command,
        healthy=lambda: healthy(port),
        log=logs / "connect.out",
        env=ENVIRONMENT,
        url=f"http://{HOST}:{port}",
        stop_seconds=60 if record else 20,
    )


def worker_properties(data: Path, port: int, kafka: str, plugin_path: Iterable[Path]) -> dict[str, object]:
    """Worker settings: exactly-once, messages up to 128 MB, secrets from ``data/connect-secrets`` only."""
    return {
        "bootstrap.servers": kafka,
        "group.id": "headrace-connect",
        "listeners": f"http://{HOST}:{port}",
        "rest.advertised.host.name": HOST,
        **({"plugin.path": ",".join(folders)} if (folders := [str(p) for p in plugin_path]) else {}),
        "plugin.discovery": "service_load",
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": False,
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": False,
        "config.storage.topic": "headrace-connect-configs",
        "config.storage.replication.factor": 1,
        "offset.storage.topic": "headrace-connect-offsets",
        "offset.storage.replication.factor": 1,
        "offset.storage.partitions": 1,
        "status.storage.topic": "headrace-connect-status",
        "status.storage.replication.factor": 1,
        "status.storage.partitions": 1,
        "exactly.once.source.support": "enabled",
        "connector.client.config.override.policy": "All",
        "scheduled.rebalance.max.delay.ms": 0,
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 2000,
        "offset.flush.interval.ms": 1000,
        "producer.max.request.size": MESSAGE_BYTES,
        "producer.buffer.memory": MESSAGE_BYTES,
        "consumer.max.partition.fetch.bytes": MESSAGE_BYTES,
        "consumer.fetch.max.bytes": MESSAGE_BYTES,
        "config.providers": "dir",
        "config.providers.dir.class": "org.apache.kafka.common.config.provider.DirectoryConfigProvider",
        "config.providers.dir.param.allowed.paths": data / "connect-secrets",
    }


def healthy(port: int) -> bool:
    """Whether the worker has joined its group and serves requests."""
    if not answers(port):
        return False
    try:
        return httpx.get(f"http://{HOST}:{port}/health", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False
