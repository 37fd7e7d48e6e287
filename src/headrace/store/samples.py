"""Samples of what pipelines do, and their coarser forms: fine for the last hours, coarse for the last month."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Integer, cast, delete, func, insert, literal, select

from headrace.store.base import Part, pipeline_id
from headrace.store.database import now
from headrace.store.records import Metric
from headrace.store.schema import pipeline_metrics, pipelines

# Seconds between samples -> how long they are kept; the last is kept as long as the settings say.
RESOLUTIONS: Mapping[int, timedelta] = {
    10: timedelta(hours=2),
    60: timedelta(days=2),
    600: timedelta(days=14),
    3600: timedelta(days=31),
}
POINTS = 1000
_BATCH = 10_000
_m = pipeline_metrics.c
_COLUMNS = tuple(_m[name] for name in Metric._fields)


class Samples(Part):
    """Reading and writing samples."""

    def add_metrics(
        self,
        name: str,
        *,
        throughput_events_per_sec: float | None = None,
        lag_seconds: float | None = None,
        lag_events: int | None = None,
        lag_bytes: int | None = None,
        latency_p50_ms: float | None = None,
        latency_p99_ms: float | None = None,
        error_count: int = 0,
        events_processed: int = 0,
        bytes_processed: int = 0,
        source_offset: str | None = None,
        target_offset: str | None = None,
        connector_status: dict[str, Any] | None = None,
    ) -> None:
        """One sample of a pipeline's figures. events_processed, bytes_processed, error_count: since the last one."""
        with self._writing() as transaction:
            transaction.execute(
                insert(pipeline_metrics).values(
                    pipeline_id=pipeline_id(transaction, name),
                    timestamp=now(),
                    resolution=min(RESOLUTIONS),
                    throughput_events_per_sec=throughput_events_per_sec,
                    lag_seconds=lag_seconds,
                    lag_events=lag_events,
                    lag_bytes=lag_bytes,
                    latency_p50_ms=latency_p50_ms,
                    latency_p99_ms=latency_p99_ms,
                    error_count=error_count,
                    events_processed=events_processed,
                    bytes_processed=bytes_processed,
                    source_offset=source_offset,
                    target_offset=target_offset,
                    connector_status=connector_status,
                )
            )

    def metrics(
        self, name: str, start: datetime | None = None, end: datetime | None = None, limit: int = POINTS
    ) -> list[Metric]:
        """Samples between the two instants, the oldest first; the newest ``limit`` of them.

        Of the finest resolution that reaches back to ``start`` and has no more than about a thousand of them.
        """
        step = resolution(start, end)
        with self._reading() as transaction:
            fits = [_m.pipeline_id == pipeline_id(transaction, name), _m.resolution == step]
            if start:
                fits.append(_m.timestamp >= start)
            if end:
                fits.append(_m.timestamp < end)
            query = select(*_COLUMNS).where(*fits).order_by(_m.timestamp.desc()).limit(limit)
            return [Metric._make(row) for row in reversed(transaction.execute(query).all())]

    def last_metrics(self, within: timedelta = timedelta(minutes=2)) -> dict[str, Metric]:
        """Pipeline -> its last sample, where that is not older."""
        newest = (
            select(func.max(_m.id))
            .where(_m.resolution == min(RESOLUTIONS), _m.timestamp > now() - within)
            .group_by(_m.pipeline_id)
        )
        query = select(pipelines.c.name, *_COLUMNS).join(pipelines, pipelines.c.id == _m.pipeline_id)
        with self._reading() as transaction:
            rows = transaction.execute(query.where(_m.id.in_(newest), pipelines.c.deleted_at.is_(None)))
            return {name: Metric._make(figures) for name, *figures in rows}

    def roll_up(self, at: datetime | None = None) -> int:
        """Make the coarser samples of every span that is over and has none yet; how many. Repeating it adds nothing.

        Offsets stay with the fine ones: there is no greatest of texts.
        """
        made = 0
        steps = sorted(RESOLUTIONS)
        for fine, coarse in itertools.pairwise(steps):
            made += self._roll_up(fine, coarse, at or now())
        return made

    def _roll_up(self, fine: int, coarse: int, at: datetime) -> int:
        bucket = self._bucket(coarse)
        with self._writing() as transaction:
            last = select(func.max(_m.timestamp)).where(_m.resolution == coarse)
            done = transaction.execute(last).scalar()
            begin = (done + timedelta(seconds=coarse)) if done else at - RESOLUTIONS[fine]
            end = datetime.fromtimestamp(at.timestamp() // coarse * coarse, at.tzinfo)
            if begin >= end:
                return 0
            spans = (
                select(
                    _m.pipeline_id,
                    bucket.label("bucket"),
                    func.avg(_m.throughput_events_per_sec),
                    func.max(_m.lag_seconds),
                    func.max(_m.lag_events),
                    func.max(_m.lag_bytes),
                    func.avg(_m.latency_p50_ms),
                    func.max(_m.latency_p99_ms),
                    func.sum(_m.error_count),
                    func.sum(_m.events_processed),
                    func.sum(_m.bytes_processed),
                )
                .where(_m.resolution == fine, _m.timestamp >= begin, _m.timestamp < end)
                .group_by(_m.pipeline_id, bucket)
            )
            rows = [
                {
                    "resolution": coarse,
                    "timestamp": datetime.fromtimestamp(int(r[1]), at.tzinfo),
                    **dict(zip(_SUMMED, (r[0], *r[2:]), strict=True)),
                }
                for r in transaction.execute(spans)
            ]
            if rows:
                transaction.execute(insert(pipeline_metrics), rows)
            return len(rows)

    def _bucket(self, seconds: int) -> ColumnElement[int]:
        """The second since the epoch at which a sample's span begins."""
        if self._engine.dialect.name == "postgresql":
            whole = cast(func.floor(func.extract("epoch", _m.timestamp) / seconds), Integer)
            return whole * seconds
        whole = cast(func.strftime("%s", _m.timestamp), Integer)
        return whole - whole % literal(seconds)

    def sweep_metrics(self, days: int) -> int:
        """Forget samples beyond their time, a batch at a time; how many."""
        gone = 0
        for step, kept in RESOLUTIONS.items():
            until = now() - (timedelta(days=days) if step == max(RESOLUTIONS) else kept)
            some = select(_m.id).where(_m.resolution == step, _m.timestamp < until).limit(_BATCH)
            with self._writing() as transaction:
                gone += transaction.execute(delete(pipeline_metrics).where(_m.id.in_(some))).rowcount
        return gone


_SUMMED = (
    "pipeline_id",
    "throughput_events_per_sec",
    "lag_seconds",
    "lag_events",
    "lag_bytes",
    "latency_p50_ms",
    "latency_p99_ms",
    "error_count",
    "events_processed",
    "bytes_processed",
)


def resolution(start: datetime | None, end: datetime | None) -> int:
    """Seconds between the samples that answer a window best."""
    if start is None:
        return min(RESOLUTIONS)
    at = now()
    seconds = ((end or at) - start).total_seconds()
    for step, kept in sorted(RESOLUTIONS.items()):
        if at - start <= kept and seconds / step <= POINTS:
            return step
    return max(RESOLUTIONS)
