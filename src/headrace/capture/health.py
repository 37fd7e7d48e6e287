"""Whether Kafka and Kafka Connect are well, as they say themselves."""

from __future__ import annotations

from typing import Any

from headrace.capture.messages import require_reachable
from headrace.capture.rest import Rest
from headrace.capture.topics import Topics
from headrace.entering import Cluster

JSON = dict[str, Any]


def kafka(where: Cluster) -> JSON:
    """``{"cluster_id", "controller", "brokers": [{"id", "host", "port"}], "topics"}``; Unavailable ``kafka_unreachable``."""
    require_reachable(where)
    found = Topics(where, timeout=5.0).metadata()
    return {
        "cluster_id": found.cluster_id,
        "controller": found.controller_id,
        "brokers": [{"id": b.id, "host": b.host, "port": b.port} for b in found.brokers.values()],
        "topics": len(found.topics),
    }


def connect(rest: Rest) -> JSON:
    """``{"version", "kafka_cluster_id", "plugins", "connectors"}``; Unavailable ``connect_unreachable``."""
    worker = rest.get("/")
    return {
        "version": worker.get("version"),
        "kafka_cluster_id": worker.get("kafka_cluster_id"),
        "plugins": len(rest.get("/connector-plugins") or []),
        "connectors": len(rest.get("/connectors") or []),
    }
