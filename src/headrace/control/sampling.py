"""Every ten seconds, what a pipeline does is written down: its figures, and the connector it stands on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from headrace.apply.applier import Counters
from headrace.capture.connect import ConnectorStatus
from headrace.capture.hiding import masked
from headrace.store import Store
from headrace.store.samples import RESOLUTIONS

_STATES = {"RUNNING": "running", "PAUSED": "paused", "STOPPED": "stopped", "FAILED": "failed"}


class Sampler:
    """Of one pipeline; not for several threads."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._next = 0.0
        self._last: float | None = None
        self._before = (0, 0, 0)

    def look(
        self,
        lag: Mapping[str, Any],
        counters: Counters | None,
        confirmed: int | None,
        status: ConnectorStatus | None,
    ) -> bool:
        """Write a sample when it is time, and whether it was. confirmed: position that the slot has confirmed."""
        at = time.monotonic()
        if at < self._next:
            return False
        seconds, self._last = at - self._last if self._last is not None else None, at
        self._next = at + min(RESOLUTIONS)
        events, size, errors = self._since(counters)
        self._store.add_metrics(
            self._name,
            throughput_events_per_sec=round(events / seconds, 1) if seconds else None,
            lag_seconds=lag.get("seconds"),
            lag_events=lag.get("events"),
            lag_bytes=lag.get("bytes"),
            latency_p50_ms=lag.get("latency_p50_ms"),
            latency_p99_ms=lag.get("latency_p99_ms"),
            error_count=errors,
            events_processed=events,
            bytes_processed=size,
            source_offset=None if confirmed is None else f"{confirmed >> 32:X}/{confirmed & 0xFFFFFFFF:X}",
            target_offset=None if lag.get("events_applied") is None else str(lag["events_applied"]),
            connector_status={"state": status.state, "tasks": list(status.tasks)} if status else None,
        )
        return True

    def note_connector(
        self, connector: str, status: ConnectorStatus | None, config: dict[str, str] | None
    ) -> None:
        """Keep what Connect says of the connector; config: None when it knows none."""
        if config is None:
            self._store.put_connectors(self._name, [])
            return
        one = {
            "name": connector,
            "type": "source",
            "connector_class": config.get("connector.class", ""),
            "config": masked(config),
            "status": _status(status),
            "tasks_max": int(config.get("tasks.max", "1")),
        }
        self._store.put_connectors(self._name, [one])

    def _since(self, counters: Counters | None) -> tuple[int, int, int]:
        """Events, bytes and errors since the last sample; an applier that was started anew counts from nothing."""
        if counters is None:
            return 0, 0, 0
        now = (counters.events, counters.bytes, counters.errors)
        before = self._before if now >= self._before else (0, 0, 0)
        self._before = now
        return now[0] - before[0], now[1] - before[1], now[2] - before[2]


def _status(status: ConnectorStatus | None) -> str:
    if status is None:
        return "stopped"
    return "failed" if status.failed else _STATES.get(status.state, "stopped")
