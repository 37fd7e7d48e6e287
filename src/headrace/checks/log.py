"""Preflight of Kafka and Kafka Connect."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource  # type: ignore[attr-defined]

from headrace.entering import Cluster, Ear, http_arguments, http_tls
from headrace.errors import Finding, Unavailable
from headrace.settings import HttpSecurity

TIMEOUT_S = 5.0
CONNECTOR = "io.debezium.connector.postgresql.PostgresConnector"
# 3.7 carries two fixes for silent loss on restart (dbz#76, dbz#1554).
CONNECTOR_MENDED = (3, 7)
# Stopping, offsets and initial_state over REST came with 3.5, 3.6 and 3.7.
CONNECT_OLDEST = (3, 7)
# Replication of topics made without saying, and of what exactly-once and progress rest on.
REPLICATION = (
    "default.replication.factor",
    "transaction.state.log.replication.factor",
    "offsets.topic.replication.factor",
)
# Topic ids, by which a recreated topic is told from the old one.
KAFKA_OLDEST = (2, 8)


def kafka(bootstrap: Cluster, external: bool, options: Mapping[str, Any] | None = None) -> list[Finding]:
    """Findings about the broker(s): reachable, letting us in, new enough, and, where external, durable.

    options: further librdkafka settings. Takes 5 s at most where
    nothing answers.
    """
    ear = Ear(bootstrap)
    settings: dict[str, Any] = {
        **bootstrap.options(),
        **(options or {}),
        "socket.timeout.ms": int(TIMEOUT_S * 1000),
        "socket.connection.setup.timeout.ms": int(TIMEOUT_S * 1000),
        "log_level": 0,
        "error_cb": ear,
    }
    try:
        client = AdminClient(settings)
    except KafkaException as error:
        return [_kafka_unreachable(bootstrap, error)]
    try:
        cluster = _metadata(client, ear)
    except KafkaException as error:
        return [_kafka_refuses(bootstrap, ear.heard) if ear.heard else _kafka_unreachable(bootstrap, error)]
    try:
        config = _broker_config(client, cluster)
    except KafkaException as error:
        config = {}
        return [*_durable(cluster, config), _unreadable(error)] if external else []
    return [*_kafka_version(config), *(_durable(cluster, config) if external else ())]


def _kafka_unreachable(bootstrap: Cluster, error: KafkaException) -> Finding:
    return Finding(
        "kafka_unreachable",
        "error",
        "kafka",
        f"Kafka at {bootstrap} does not answer: {error.args[0].str()}",
        "Check HEADRACE_KAFKA, its TLS and SASL settings, and that the brokers run.",
        subject=str(bootstrap),
    )


def _metadata(client: AdminClient, ear: Ear) -> ClusterMetadata:
    """KafkaException, soon where we are not let in."""
    for last, share in ((False, 0.2), (True, 0.8)):
        try:
            return client.list_topics(timeout=TIMEOUT_S * share)
        except KafkaException:
            client.poll(0)
            if last or ear.heard:
                raise
    raise AssertionError


def _kafka_refuses(bootstrap: Cluster, refusal: Unavailable) -> Finding:
    return Finding(refusal.code, "error", "kafka", refusal.message, refusal.guidance, subject=str(bootstrap))


def _broker_config(client: AdminClient, cluster: ClusterMetadata) -> dict[str, str]:
    """Settings of one broker (they are alike on all, or should be); KafkaException."""
    broker = ConfigResource(ConfigResource.Type.BROKER, str(min(cluster.brokers)))
    future = client.describe_configs([broker], request_timeout=TIMEOUT_S)[broker]
    return {name: str(entry.value) for name, entry in future.result(timeout=TIMEOUT_S * 2).items()}


def _unreadable(error: KafkaException) -> Finding:
    return Finding(
        "kafka_config_hidden",
        "info",
        "kafka",
        f"The brokers' settings cannot be read: {error.args[0].str()}",
        "See to it that min.insync.replicas is 2 or more and unclean leader election is off.",
    )


def _kafka_version(config: Mapping[str, str]) -> Iterator[Finding]:
    # Brokers do not tell their version; up to 3.x they tell this one, 4 and later have dropped it.
    protocol = _version(config.get("inter.broker.protocol.version", ""))
    if protocol and protocol < KAFKA_OLDEST:
        yield Finding(
            "kafka_version",
            "error",
            "kafka",
            f"Kafka speaks protocol {_dotted(protocol)}; {_dotted(KAFKA_OLDEST)} is the oldest supported.",
            "Upgrade the brokers and inter.broker.protocol.version.",
        )


def _durable(cluster: ClusterMetadata, config: Mapping[str, str]) -> Iterator[Finding]:
    """What the log needs to lose nothing: three copies, two of them in sync, no unclean election."""
    brokers = len(cluster.brokers)
    if brokers < 3:
        yield _weak("kafka_brokers", f"Kafka has {brokers} broker(s): the log cannot have three copies.", "")
    for name in REPLICATION:
        if name in config and int(config[name]) < 3:
            message = f"{name} is {config[name]}: an acknowledged event may be lost with a broker."
            yield _weak("kafka_replication", message, f"{name}=3", restart=True)
    if int(config.get("min.insync.replicas", "2")) < 2:
        message = "min.insync.replicas is 1: an event is acknowledged when one broker has it."
        yield _weak("kafka_min_isr", message, "min.insync.replicas=2")
    if config.get("unclean.leader.election.enable", "false") == "true":
        fix = "unclean.leader.election.enable=false"
        yield _weak("kafka_unclean", "Unclean leader election is on: acknowledged events may be lost.", fix)


def _weak(code: str, message: str, setting: str, *, restart: bool = False) -> Finding:
    command = "kafka-configs.sh --bootstrap-server <broker> --alter --entity-type brokers --entity-default"
    fix = f"{command} --add-config {setting}" if setting and not restart else None
    guidance = f"Set `{setting}` on every broker." if setting else "Run three brokers or more."
    return Finding(code, "warning", "kafka", message, guidance, fix, setting.partition("=")[0] or None)


def connect(url: str, security: HttpSecurity | None = None) -> list[Finding]:
    """Findings about Kafka Connect at its REST URL: reachable, new enough, plugin there, exactly once."""
    try:
        with httpx.Client(
            base_url=url, timeout=TIMEOUT_S, **http_arguments(security or HttpSecurity())
        ) as client:
            worker = _get(client, "/")
            plugins = _get(client, "/connector-plugins")
            found = [*_connect_version(worker), *_plugin(plugins)]
            if not any(f.severity == "error" for f in found):
                found += _worker_settings(client)
            return found
    except httpx.HTTPStatusError as error:
        denied = error.response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
        return [_connect_denied(url, error) if denied else _connect_unreachable(url, error)]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return [_connect_tls(url, error) or _connect_unreachable(url, error)]


def _get(client: httpx.Client, path: str) -> Any:
    return client.get(path).raise_for_status().json()


def _connect_unreachable(url: str, error: Exception) -> Finding:
    return Finding(
        "connect_unreachable",
        "error",
        "connect",
        f"Kafka Connect at {url} does not answer as it should: {error}",
        "Check HEADRACE_CONNECT, and that a worker runs there.",
        subject=url,
    )


def _connect_denied(url: str, error: httpx.HTTPStatusError) -> Finding:
    return Finding(
        "connect_denied",
        "error",
        "connect",
        f"Kafka Connect at {url} does not let Headrace in ({error.response.status_code})",
        "Check HEADRACE_CONNECT_USER and HEADRACE_CONNECT_PASSWORD, and what that user may do there.",
        subject=url,
    )


def _connect_tls(url: str, error: Exception) -> Finding | None:
    if (found := http_tls(error, "HEADRACE_CONNECT")) is None:
        return None
    said, guidance = found
    message = f"Kafka Connect at {url} and Headrace do not agree on TLS: {said}"
    return Finding("connect_tls", "error", "connect", message, guidance, subject=url)


def _connect_version(worker: Mapping[str, Any]) -> Iterator[Finding]:
    version = str(worker.get("version", ""))
    if _version(version) and _version(version) < CONNECT_OLDEST:
        yield Finding(
            "connect_version",
            "error",
            "connect",
            f"Kafka Connect is {version}; {_dotted(CONNECT_OLDEST)} is the oldest that can be stopped and "
            "given offsets over REST.",
            "Upgrade the workers.",
        )


def _plugin(plugins: list[Mapping[str, Any]]) -> Iterator[Finding]:
    versions = [str(p.get("version", "")) for p in plugins if p.get("class") == CONNECTOR]
    if not versions:
        yield Finding(
            "connector_missing",
            "error",
            "connect",
            "Kafka Connect has no Debezium PostgreSQL connector.",
            "Unpack the plugin (Maven: io.debezium:debezium-connector-postgres, classifier plugin) into a folder "
            "of plugin.path on every worker, and restart them.",
            subject=CONNECTOR,
        )
        return
    newest = max(versions, key=_version)
    if _version(newest) < CONNECTOR_MENDED:
        yield Finding(
            "connector_version",
            "warning",
            "connect",
            f"The Debezium PostgreSQL connector is {newest}; {_dotted(CONNECTOR_MENDED)} mended two ways to lose "
            "events on a restart (dbz#76, dbz#1554).",
            f"Upgrade the plugin to {_dotted(CONNECTOR_MENDED)} or later.",
            subject=CONNECTOR,
        )


def _worker_settings(client: httpx.Client) -> Iterator[Finding]:
    """What only a validation tells of the worker: it refuses what its own settings do not allow."""
    asked = {
        "connector.class": CONNECTOR,
        "name": "headrace-check",
        "exactly.once.support": "required",
        "producer.override.transaction.timeout.ms": "5000",
    }
    answer = client.put(f"/connector-plugins/{CONNECTOR}/config/validate", json=asked)
    if answer.status_code != httpx.codes.OK:
        return
    errors = {c["value"]["name"]: c["value"]["errors"] for c in answer.json().get("configs", [])}
    if errors.get("exactly.once.support"):
        yield Finding(
            "connect_exactly_once",
            "error",
            "connect",
            f"Kafka Connect gives no exactly-once source support: {errors['exactly.once.support'][0]}",
            "Set exactly.once.source.support=enabled on every worker (`preparing` first, in a rolling restart). "
            "Without it a restarted connector repeats events.",
        )
    if errors.get("producer.override.transaction.timeout.ms"):
        yield Finding(
            "connect_overrides",
            "error",
            "connect",
            "Kafka Connect does not let a connector set its producer's transaction time-out and request size.",
            "Set connector.client.config.override.policy=All on every worker.",
        )


def _version(text: str) -> tuple[int, ...]:
    """``3.7.0.Final`` -> (3, 7); empty where there is none."""
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
