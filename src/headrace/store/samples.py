"""Samples of what pipelines do, and their coarser forms: fine for the last hours, coarse for the last month."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Integer, and_, cast, func, insert, literal, select

from headrace.store.base import Part, Transaction, pipeline_id
from headrace.store.database import now
from headrace.store.records import Metric
from headrace.store.schema import pipeline_metrics

# Seconds between samples -> how long they are kept; the last is kept as long as the settings say.
RESOLUTIONS: Mapping[int, timedelta] = {
    10: timedelta(hours=2),
    60: timedelta(days=2),
    600: timedelta(days=14),
    3600: timedelta(days=31),
}
# Seven days of ten minutes are 1008.
POINTS = 1100
# A sample takes its time to be committed, and workers' clocks differ: so long a span waits before it is rolled up.
LATE = timedelta(minutes=1)
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

        Of the finest resolution that reaches back to ``start`` and has no more than about a thousand of them. What is
        not rolled up yet is summed up here, so that the last of them may still grow.
        """
        step = resolution(start, end)
        with self._reading() as transaction:
            id_ = pipeline_id(transaction, name)
            fits = [_m.pipeline_id == id_, _m.resolution == step]
            if start:
                fits.append(_m.timestamp >= start)
            if end:
                fits.append(_m.timestamp < end)
            query = select(*_COLUMNS).where(*fits).order_by(_m.timestamp.desc()).limit(limit)
            found = [Metric._make(row) for row in reversed(transaction.execute(query).all())]
            return (found + self._open(transaction, id_, step, found, start, end))[-limit:]

    def _open(
        self,
        transaction: Transaction,
        id_: str,
        step: int,
        found: list[Metric],
        start: datetime | None,
        end: datetime | None,
    ) -> list[Metric]:
        """What follows those that were found, made of the finest samples."""
        if step == min(RESOLUTIONS) or start is None:
            return []
        span = timedelta(seconds=step)
        after = found[-1].timestamp + span if found else _floor(start + span - timedelta.resolution, step)
        fits = [_m.pipeline_id == id_, _m.timestamp >= after]
        if end:
            fits.append(_m.timestamp < end)
        return [
            Metric(
                timestamp=values["timestamp"],
                **{f: values[f] for f in _SUMMED},
                source_offset=None,
                target_offset=None,
                connector_status=None,
                resolution=step,
            )
            for values in self._coarser(transaction, min(RESOLUTIONS), step, fits)
        ]

    def last_metrics(
        self, pipelines: Sequence[str], within: timedelta = timedelta(minutes=2)
    ) -> dict[str, Metric]:
        """Id of a pipeline -> its last sample, where that is not older."""
        recent = (_m.resolution == min(RESOLUTIONS), _m.timestamp > now() - within)
        newest = (
            select(func.max(_m.id)).where(_m.pipeline_id.in_(pipelines), *recent).group_by(_m.pipeline_id)
        )
        query = select(_m.pipeline_id, *_COLUMNS).where(_m.id.in_(newest))
        with self._reading() as transaction:
            return {id_: Metric._make(figures) for id_, *figures in transaction.execute(query)}

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
        with self._writing() as transaction:
            last = select(func.max(_m.timestamp)).where(_m.resolution == coarse)
            done = transaction.execute(last).scalar()
            begin = done + timedelta(seconds=coarse) if done else _floor(at - RESOLUTIONS[fine], coarse)
            end = _floor(at - LATE, coarse)
            if begin >= end:
                return 0
            rows = self._coarser(transaction, fine, coarse, [_m.timestamp >= begin, _m.timestamp < end])
            if rows:
                transaction.execute(insert(pipeline_metrics), rows)
            return len(rows)

    def _coarser(
        self, transaction: Transaction, fine: int, coarse: int, fits: Sequence[ColumnElement[bool]]
    ) -> list[dict[str, Any]]:
        """The rows that the fine samples that fit make, oldest first."""
        bucket = self._bucket(coarse)
        figures = [how(_m[name]).label(name) for name, how in _SUMMED.items()]
        spans = (
            select(_m.pipeline_id, bucket.label("bucket"), *figures)
            .where(_m.resolution == fine, *fits)
            .group_by(_m.pipeline_id, bucket)
            .order_by(bucket)
        )
        return [
            {
                "pipeline_id": r.pipeline_id,
                "resolution": coarse,
                "timestamp": datetime.fromtimestamp(int(r.bucket), UTC),
                # PostgreSQL's sums of whole numbers are decimals.
                **{f: int(v) if isinstance(v := getattr(r, f), Decimal) else v for f in _SUMMED},
            }
            for r in transaction.execute(spans)
        ]

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
            gone += self._forget(_m.id, and_(_m.resolution == step, _m.timestamp < until))
        return gone


# Figure -> what is made of several of it.
_SUMMED: Mapping[str, Callable[..., Any]] = {
    "throughput_events_per_sec": func.avg,
    "lag_seconds": func.max,
    "lag_events": func.max,
    "lag_bytes": func.max,
    "latency_p50_ms": func.avg,
    "latency_p99_ms": func.max,
    "error_count": func.sum,
    "events_processed": func.sum,
    "bytes_processed": func.sum,
}


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


def _floor(at: datetime, seconds: int) -> datetime:
    """When the span began in which an instant lies."""
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, UTC)
