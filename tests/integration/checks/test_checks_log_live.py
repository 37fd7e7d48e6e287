"""What a real broker and a real Connect worker tell: the embedded ones, and one set up badly."""

from __future__ import annotations

from headrace.checks import log
from headrace.entering import Cluster
from headrace.local.stack import Stack


def test_embedded_stack() -> None:
    with Stack() as stack:
        assert log.kafka(Cluster(stack.settings.kafka), external=False) == []
        assert log.connect(stack.settings.connect) == []


def test_cluster_that_may_lose_events() -> None:
    kafka = {"unclean.leader.election.enable": "true"}
    connect = {
        "exactly.once.source.support": "disabled",
        "connector.client.config.override.policy": "None",
    }
    with Stack(kafka_settings=kafka, connect_settings=connect) as stack:
        found = log.kafka(Cluster(stack.settings.kafka), external=True)
        assert {f.severity for f in found} == {"warning"}
        assert sorted({f.code for f in found}) == [
            "kafka_brokers",
            "kafka_min_isr",
            "kafka_replication",
            "kafka_unclean",
        ]
        assert [(f.severity, f.code) for f in log.connect(stack.settings.connect)] == [
            ("error", "connect_exactly_once"),
            ("error", "connect_overrides"),
        ]
