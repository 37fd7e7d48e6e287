"""What happened: logs, runs, metrics, dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update

from headrace.errors import NotFound
from headrace.spec.names import TableName
from headrace.store.base import Part, new_id, pipeline_id
from headrace.store.database import now
from headrace.store.events import publish
from headrace.store.records import DeadLetter, LogLine, Metric, Run
from headrace.store.schema import dead_letters, pipeline_logs, pipeline_metrics, pipeline_runs

LEVELS = ("debug", "info", "warning", "error")


class Journal(Part):
    """Writing down and reading back."""

    def log(self, name: str, level: str, component: str, message: str, **context: Any) -> None:
        """One line in a pipeline's log. level: debug, info, warning, error. context: JSON, without secrets."""
        values = {"ts": now(), "level": level, "component": component, "message": message, "context": context}
        with self._writing() as transaction:
            id_ = pipeline_id(transaction, name)
            transaction.execute(insert(pipeline_logs).values(pipeline_id=id_, **values))
            publish(transaction, "logs", name, {"level": level, "component": component, "message": message})

    def logs(
        self, name: str, level: str | None = None, limit: int = 200, since: datetime | None = None
    ) -> list[LogLine]:
        """The newest ``limit`` lines of at least that level since then, oldest first."""
        with self._reading() as transaction:
            query = select(pipeline_logs).where(pipeline_logs.c.pipeline_id == pipeline_id(transaction, name))
            if level in LEVELS:
                query = query.where(pipeline_logs.c.level.in_(LEVELS[LEVELS.index(level) :]))
            if since:
                query = query.where(pipeline_logs.c.ts >= since)
            rows = transaction.execute(query.order_by(pipeline_logs.c.id.desc()).limit(limit)).all()
            return [LogLine(r.id, r.ts, r.level, r.component, r.message, r.context) for r in reversed(rows)]

    def run_started(self, name: str, run_type: str, **metadata: Any) -> str:
        """Begin a run (``load``, ``resync``, ``stream``, ...); its id."""
        id_ = new_id()
        values = {"run_type": run_type, "status": "running", "started_at": now(), "run_metadata": metadata}
        with self._writing() as transaction:
            pipeline = pipeline_id(transaction, name)
            transaction.execute(
                insert(pipeline_runs).values(
                    id=id_, pipeline_id=pipeline, rows_processed=0, errors_count=0, **values
                )
            )
        return id_

    def run_finished(
        self, id_: str, status: str, *, rows: int = 0, errors: int = 0, message: str | None = None
    ) -> None:
        """End a run as ``completed``, ``failed`` or ``cancelled``."""
        values = {"status": status, "rows_processed": rows, "errors_count": errors, "error_message": message}
        with self._writing() as transaction:
            transaction.execute(
                update(pipeline_runs).where(pipeline_runs.c.id == id_).values(**values, completed_at=now())
            )

    def runs(self, name: str, limit: int = 50) -> list[Run]:
        """The newest runs first."""
        with self._reading() as transaction:
            query = select(pipeline_runs).where(pipeline_runs.c.pipeline_id == pipeline_id(transaction, name))
            rows = transaction.execute(query.order_by(pipeline_runs.c.started_at.desc()).limit(limit))
            return [_run(row) for row in rows]

    def add_metrics(
        self,
        name: str,
        *,
        throughput_events_per_sec: float | None = None,
        lag_seconds: float | None = None,
        error_count: int = 0,
        bytes_processed: int = 0,
        source_offset: str | None = None,
        target_offset: str | None = None,
        connector_status: dict[str, Any] | None = None,
    ) -> None:
        """One sample of a pipeline's figures."""
        with self._writing() as transaction:
            transaction.execute(
                insert(pipeline_metrics).values(
                    pipeline_id=pipeline_id(transaction, name),
                    timestamp=now(),
                    throughput_events_per_sec=throughput_events_per_sec,
                    lag_seconds=lag_seconds,
                    error_count=error_count,
                    bytes_processed=bytes_processed,
                    source_offset=source_offset,
                    target_offset=target_offset,
                    connector_status=connector_status,
                )
            )

    def metrics(
        self, name: str, start: datetime | None = None, end: datetime | None = None, limit: int = 1000
    ) -> list[Metric]:
        """Samples between the two instants, oldest first; the newest ``limit`` of them."""
        with self._reading() as transaction:
            table = pipeline_metrics
            query = select(table).where(table.c.pipeline_id == pipeline_id(transaction, name))
            if start:
                query = query.where(table.c.timestamp >= start)
            if end:
                query = query.where(table.c.timestamp < end)
            rows = transaction.execute(query.order_by(table.c.id.desc()).limit(limit)).all()
            return [_metric(row) for row in reversed(rows)]

    def add_dead_letter(
        self,
        name: str,
        source: TableName,
        *,
        topic: str,
        offset: int,
        key: Any,
        cause: str,
        message: str,
        event: Any,
    ) -> str:
        """Keep a refused event, ``waiting``; its id. The same topic and offset again is the same letter."""
        table = dead_letters
        with self._writing() as transaction:
            pipeline = pipeline_id(transaction, name)
            same = (table.c.pipeline_id == pipeline, table.c.topic == topic, table.c.event_offset == offset)
            found = transaction.execute(select(table.c.id).where(*same)).scalar()
            if found:
                return str(found)
            id_ = new_id()
            place = {"source_schema": source.schema, "source_name": source.name, "topic": topic}
            what = {
                "event_offset": offset,
                "event_key": key,
                "cause": cause,
                "message": message,
                "event": event,
            }
            times = {"status": "waiting", "created_at": now(), "updated_at": now()}
            transaction.execute(insert(table).values(id=id_, pipeline_id=pipeline, **place, **what, **times))
            return id_

    def dead_letters(
        self,
        name: str,
        status: str | None = None,
        source: TableName | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[list[DeadLetter], int]:
        """A page of dead letters in the order they came (topic, offset), and how many fit."""
        table = dead_letters
        with self._reading() as transaction:
            fits = [table.c.pipeline_id == pipeline_id(transaction, name)]
            if status:
                fits.append(table.c.status == status)
            if source:
                fits += [table.c.source_schema == source.schema, table.c.source_name == source.name]
            total: int = transaction.execute(
                select(func.count()).select_from(table).where(*fits)
            ).scalar_one()
            query = select(table).where(*fits).order_by(table.c.topic, table.c.event_offset)
            return [_letter(row) for row in transaction.execute(query.limit(limit).offset(offset))], total

    def discard_dead_letters(self, name: str, ids: Sequence[str]) -> None:
        """Discard waiting ones, all or none; NotFound ``no_such_dead_letter`` for one that does not wait."""
        table = dead_letters
        with self._writing() as transaction:
            ours = (table.c.pipeline_id == pipeline_id(transaction, name)) & (table.c.status == "waiting")
            for id_ in ids:
                changed = transaction.execute(
                    update(table).where(ours, table.c.id == id_).values(status="discarded", updated_at=now())
                )
                if not changed.rowcount:
                    raise NotFound(
                        "no_such_dead_letter", f"There is no waiting dead letter {id_}", "List them first."
                    )


def _run(row: Row[Any]) -> Run:
    return Run(
        row.id,
        row.run_type,
        row.status,
        row.started_at,
        row.completed_at,
        row.rows_processed,
        row.errors_count,
        row.error_message,
        row.run_metadata,
    )


def _metric(row: Row[Any]) -> Metric:
    return Metric(
        row.timestamp,
        row.throughput_events_per_sec,
        row.lag_seconds,
        row.error_count,
        row.bytes_processed,
        row.source_offset,
        row.target_offset,
        row.connector_status,
    )


def _letter(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        row.id,
        TableName(row.source_schema, row.source_name),
        row.topic,
        row.event_offset,
        row.event_key,
        row.cause,
        row.message,
        row.event,
        row.status,
        row.created_at,
        row.updated_at,
    )
