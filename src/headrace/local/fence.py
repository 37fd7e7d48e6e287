"""A broker that died is fenced before it starts again.

A broker of Kafka 4.3 that was killed starts with the metadata of its past life, in which it still leads its
partitions, and becomes the coordinator of its transactions at once. When the controller then fences that past
life, the leaders are unknown for a moment, which the coordinator takes for deleted partitions (KAFKA-20734): it
drops the markers of a commit that was under way. Such a transaction is never ended, and no reader of committed
records ever gets past it. So the controller starts alone first, and fences the past life while no coordinator runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from headrace.local.jvm import ENVIRONMENT, Program, write_config
from headrace.local.process import Service

PATIENCE_SECONDS = 60.0
_STATE = re.compile(
    r"RegisterBrokerRecord\(.*fenced=(true|false)|RegistrationChangeRecord\(.*fenced=(1|-1)\b"
)


def fence(data: Path, properties: Mapping[str, object]) -> None:
    """Fence what is left of a broker that was not stopped orderly; ``properties`` are those it will start with.

    Does nothing after an orderly stop, or before the first start. Raises Unavailable ``component_failed``.
    """
    log = data / "kafka"
    if (log / ".kafka_cleanshutdown").exists() or not (log / "__cluster_metadata-0").exists():
        return
    config, logs = data / "kafka-fence.properties", data / "logs"
    alone = {k: v for k, v in properties.items() if k != "advertised.listeners"} | {
        "process.roles": "controller",
        "listeners": next(x for x in str(properties["listeners"]).split(",") if x.startswith("CONTROLLER")),
        "broker.heartbeat.interval.ms": 100,
        "broker.session.timeout.ms": 500,
    }
    write_config(config, alone)
    program = Program("kafka-fence", "kafka.Kafka", [str(config)], 128, logs, cache="kafka")
    told = logs / f"{program.name}.log"
    told.unlink(missing_ok=True)
    controller = Service(
        name=program.name,
        command=program.command,
        healthy=lambda: fenced(told),
        log=logs / f"{program.name}.out",
        env=ENVIRONMENT,
        start_seconds=PATIENCE_SECONDS,
    )
    try:
        controller.start()
        controller.wait_healthy()
    finally:
        controller.stop()


def fenced(told: Path) -> bool:
    """Whether an active controller knows no broker that is not fenced, by its log."""
    if not told.exists():
        return False
    text = told.read_text(encoding="utf-8", errors="replace")
    states = [match[1] or match[2] for match in _STATE.finditer(text)]
    return "Becoming the active controller" in text and (not states or states[-1] in ("true", "1"))
