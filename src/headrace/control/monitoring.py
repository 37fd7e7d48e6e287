"""The use cases of watching: figures of pipelines over time, of the whole installation, of Kafka and Connect."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace.capture import health
from headrace.capture.rest import Rest
from headrace.control import forms
from headrace.entering import cluster
from headrace.errors import Invalid
from headrace.monitor.machine import machine
from headrace.monitor.traffic import Traffic
from headrace.settings import Settings
from headrace.store import Store
from headrace.store.records import Metric, Run

JSON = dict[str, Any]
_SAMPLE = Metric._fields[:-1]
WINDOWS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}


class Monitoring:
    """One object per process; threads may share it. watching: how many clients watch live here."""

    def __init__(
        self, settings: Settings, store: Store, traffic: Traffic, watching: Callable[[], int]
    ) -> None:
        self._settings, self._store, self._traffic, self._watching = settings, store, traffic, watching
        self._connect = Rest(settings.connect, settings.connect_security)
        self._own = CollectorRegistry()
        self._own.register(_Pipelines(store))

    def close(self) -> None:
        """Give back connections."""
        self._connect.close()

    # --- one pipeline

    def metrics(self, name: str, start: datetime | None, end: datetime | None, limit: int) -> JSON:
        """``{"resolution_seconds", "items"}``, the oldest first; the last hour unless told otherwise."""
        start, end = _last_hour(start, end)
        found = self._store.metrics(name, start, end, limit)
        step = found[0].resolution if found else None
        return {"resolution_seconds": step, "items": [_sample(m) for m in found]}

    def lag(self, name: str) -> JSON:
        """The lag now and over the last hour."""
        pipeline = self._store.pipeline(name)
        found = self._store.metrics(pipeline.name, _ago(timedelta(hours=1)))
        return {
            "name": pipeline.name,
            "now": forms.lag(pipeline.lag),
            "items": [
                {
                    "timestamp": m.timestamp,
                    "seconds": m.lag_seconds,
                    "events": m.lag_events,
                    "bytes": m.lag_bytes,
                }
                for m in found
            ],
        }

    def throughput(self, name: str, window: str) -> JSON:
        """Events a second over a window: ``1h``, ``24h`` or ``7d``."""
        found = self._store.metrics(name, _ago(WINDOWS[window]))
        rates = [m.throughput_events_per_sec for m in found if m.throughput_events_per_sec is not None]
        events = sum(m.events_processed for m in found)
        # The first sample stands for the time before it.
        seconds = (
            (_ago(timedelta()) - found[0].timestamp).total_seconds() + found[0].resolution if found else 0
        )
        return {
            "window": window,
            "average_events_per_sec": round(events / seconds, 3) if found else None,
            "peak_events_per_sec": max(rates, default=None),
            "events": events,
            "bytes": sum(m.bytes_processed for m in found),
            "items": [
                {"timestamp": m.timestamp, "events_per_sec": m.throughput_events_per_sec} for m in found
            ],
        }

    def runs(self, name: str, limit: int, offset: int) -> tuple[list[JSON], int]:
        """A page of loads and other runs, the newest first."""
        found, total = self._store.runs(name, limit, offset)
        return [_run(r) for r in found], total

    def connectors(self, name: str) -> list[JSON]:
        """The connectors of a pipeline as last seen, secrets as references."""
        return [
            {
                "id": c.id,
                "pipeline_id": c.pipeline_id,
                "name": c.name,
                "type": c.type,
                "connector_class": c.connector_class,
                "config": c.config,
                "status": c.status,
                "tasks_max": c.tasks_max,
                "created_at": c.created_at,
                "updated_at": c.updated_at,
            }
            for c in self._store.pipeline_connectors(name)
        ]

    # --- all

    def pipelines(
        self, status: str | None, q: str | None, sort: str, limit: int, offset: int
    ) -> tuple[list[JSON], int]:
        """A page of pipelines in figures, and how many fit."""
        rows = self._store.figures(status, q, sort, limit, offset)
        return self._in_figures(rows), self._store.lag_sums(status, q)["pipelines"]

    def lags(self, limit: int) -> JSON:
        """Sums over all pipelines, and those that are furthest behind."""
        return {
            **self._store.lag_sums(),
            "items": self._in_figures(self._store.figures(sort="-lag", limit=limit)),
        }

    def _in_figures(self, rows: list[JSON]) -> list[JSON]:
        last = self._store.last_metrics([row["id"] for row in rows])
        return [_figures(row, last.get(row["id"])) for row in rows]

    def system(self) -> JSON:
        """This process and its machine."""
        traffic = self._traffic
        return {
            **machine(self._settings.data),
            "uptime_seconds": round(time.time() - traffic.began, 1),
            "requests": traffic.by_status(),
            "request_p50_ms": _ms(traffic.percentile(0.5)),
            "request_p95_ms": _ms(traffic.percentile(0.95)),
            "request_p99_ms": _ms(traffic.percentile(0.99)),
            "live_clients": self._watching(),
            "metadata_pool": self._store.pool(),
        }

    def kafka(self) -> JSON:
        """Kafka's own words; Unavailable ``kafka_unreachable``."""
        return {"status": "ok", **health.kafka(cluster(self._settings))}

    def connect(self) -> JSON:
        """Connect's own words; Unavailable ``connect_unreachable``."""
        return {"status": "ok", **health.connect(self._connect)}

    def prometheus(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._traffic.registry) + generate_latest(self._own)


class _Pipelines(Collector):
    """Gauges of pipelines, read from the store at each scrape."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> list[Any]:
        """Nothing: what there is is known at a scrape only."""
        return []

    def collect(self) -> list[Any]:
        """The gauges."""
        gauges = {
            name: GaugeMetricFamily(f"headrace_pipeline_{name}", said, labels=["pipeline", *more])
            for name, (said, *more) in _GAUGES.items()
        }
        rows = self._store.figures()
        last = self._store.last_metrics([row["id"] for row in rows])
        for row in rows:
            name, lag, sample = row["name"], row["lag"] or {}, last.get(row["id"])
            gauges["status"].add_metric([name, row["status"]], 1)
            for state, count in row["tables"].items():
                gauges["tables"].add_metric([name, state], count)
            # What nobody measures any more must not look like a good figure.
            found = {g: lag.get(key) for g, key in _LAG_GAUGES.items()} if _fresh(lag) else {}
            if sample is not None:
                found |= {"errors": sample.error_count, "bytes_processed": sample.bytes_processed}
                for connector in filter(None, [sample.connector_status]):
                    gauges["connector_state"].add_metric([name, str(connector.get("state"))], 1)
                    for state, count in Counter(connector.get("tasks") or []).items():
                        gauges["connector_tasks"].add_metric([name, str(state)], count)
            for gauge, value in found.items():
                if value is not None:
                    gauges[gauge].add_metric([name], float(value))
        return list(gauges.values())


# Gauge -> what it tells, and its labels beside the pipeline.
_GAUGES = {
    "status": ("1 for its status", "status"),
    "tables": ("Tables by state", "state"),
    "lag_seconds": ("Seconds behind",),
    "lag_events": ("Events behind",),
    "lag_bytes": ("WAL held by its slot",),
    "events_per_second": ("Events applied a second",),
    "latency_p50_ms": ("From source commit to target commit, median of the last 20 seconds",),
    "latency_p99_ms": ("From source commit to target commit, 99th percentile of the last 20 seconds",),
    "errors": ("Errors of the last sample's ten seconds",),
    "bytes_processed": ("Bytes applied in the last sample's ten seconds",),
    "connector_state": ("1 for its state", "state"),
    "connector_tasks": ("Tasks by state", "state"),
}
_LAG_GAUGES = {
    "lag_seconds": "seconds",
    "lag_events": "events",
    "lag_bytes": "bytes",
    "events_per_second": "events_per_second",
    "latency_p50_ms": "latency_p50_ms",
    "latency_p99_ms": "latency_p99_ms",
}


def _fresh(lag: JSON) -> bool:
    said = lag.get("measured_at")
    return said is None or _ago(timedelta(minutes=1)) < datetime.fromisoformat(said)


def _figures(row: JSON, last: Metric | None) -> JSON:
    lag = row["lag"] or {}
    return {
        "name": row["name"],
        "status": row["status"],
        "phase": row["phase"],
        "lag": forms.lag(row["lag"]),
        "events_per_sec": lag.get("events_per_second"),
        "latency_p50_ms": lag.get("latency_p50_ms"),
        "latency_p99_ms": lag.get("latency_p99_ms"),
        "errors": last.error_count if last else 0,
        "connector": (last.connector_status or {}).get("state") if last else None,
        "tables": row["tables"],
        "error": forms.short_error(row["error"]),
    }


def _sample(m: Metric) -> JSON:
    return dict(zip(_SAMPLE, m, strict=False))


def _run(r: Run) -> JSON:
    return {
        "id": r.id,
        "pipeline_id": r.pipeline_id,
        "run_type": r.run_type,
        # What older versions wrote.
        "status": "completed" if r.status == "done" else r.status,
        "started_at": r.started_at,
        "completed_at": r.completed_at,
        "rows_processed": r.rows_processed,
        "errors_count": r.errors_count,
        "error_message": r.error_message,
        "run_metadata": r.metadata,
    }


def _last_hour(start: datetime | None, end: datetime | None) -> tuple[datetime, datetime | None]:
    start, end = window(start, end)
    return start or (end or datetime.now(UTC)) - timedelta(hours=1), end


def window(start: datetime | None, end: datetime | None) -> tuple[datetime | None, datetime | None]:
    """Two instants with their zones; Invalid ``bad_window`` when they are the wrong way round."""
    start, end = aware(start), aware(end)
    if start is not None and end is not None and end < start:
        raise Invalid("bad_window", "end_time is before start_time", "Turn them round.")
    return start, end


def aware(instant: datetime | None) -> datetime | None:
    """An instant with its zone; one without is taken for UTC. Invalid ``bad_window`` at the ends of time."""
    if instant is not None and not datetime.min.year < instant.year < datetime.max.year:
        # A zone, or an hour more or less, would lead out of what a computer can say.
        raise Invalid("bad_window", f"Nothing happened in the year {instant.year}", "Name a nearer time.")
    return instant.replace(tzinfo=UTC) if instant is not None and instant.tzinfo is None else instant


def _ago(span: timedelta) -> datetime:
    return datetime.now(UTC) - span


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
