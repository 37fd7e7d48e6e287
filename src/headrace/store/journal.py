"""What happened: logs, runs, connectors, dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from headrace.actor import current
from headrace.errors import Conflict, NotFound
from headrace.spec.names import TableName
from headrace.store.base import Part, Transaction, new_id, page, pipeline_id, pipeline_row
from headrace.store.database import now
from headrace.store.records import DeadLetter, LogLine, PipelineConnector, Place, Run
from headrace.store.schema import dead_letters, log_places, pipeline_connectors, pipeline_logs, pipeline_runs
from headrace.store.telling import publish

LEVELS = ("debug", "info", "warning", "error")
_TOLD = ("level", "component", "message", "request_id")


class Journal(Part):
    """Writing down and reading back."""

    def log(self, name: str, level: str, component: str, message: str, **context: Any) -> None:
        """One line in a pipeline's log. level: debug, info, warning, error. context: JSON, without secrets."""
        line = {"level": level, "component": component, "message": message}
        request = current().request_id or None
        values = {**line, "ts": now(), "context": context, "request_id": request}
        with self._writing() as transaction:
            id_ = pipeline_id(transaction, name)
            transaction.execute(insert(pipeline_logs).values(pipeline_id=id_, **values))
            publish(transaction, "logs", name, {**line, "request_id": request})

    def log_place(self, file: str) -> Place | None:
        """How far a log file is gathered; None before it ever was."""
        with self._reading() as transaction:
            row = transaction.execute(select(log_places).where(log_places.c.name == file)).first()
            return None if row is None else Place(row.identity, row.position)

    def gather(
        self, file: str, before: Place | None, after: Place, lines: Mapping[str, Sequence[Mapping[str, Any]]]
    ) -> None:
        """Keep lines of a log file under their pipelines, and that it is read so far; both or nothing.

        Each line has level, component, message, ts and context; it belongs to the call that its pipeline follows.
        Lines of pipelines that are gone are passed over. Conflict when somebody else has gathered since ``before``.
        """
        with self._writing() as transaction:
            self._move(transaction, file, before, after)
            rows = []
            for name, some in lines.items():
                try:
                    pipeline = pipeline_row(transaction, name)
                except NotFound:
                    continue
                for line in some:
                    row = {**line, "request_id": pipeline.request_id}
                    rows.append({**row, "pipeline_id": pipeline.id})
                    publish(transaction, "logs", pipeline.name, {f: row[f] for f in _TOLD})
            if rows:
                transaction.execute(insert(pipeline_logs), rows)

    @staticmethod
    def _move(transaction: Transaction, file: str, before: Place | None, after: Place) -> None:
        values = {"identity": after.identity, "position": after.position}
        if before is None:
            # Conflict by the key when it is there by now.
            transaction.execute(insert(log_places).values(name=file, **values))
            return
        here = (log_places.c.identity == before.identity) & (log_places.c.position == before.position)
        changed = transaction.execute(
            update(log_places).where(log_places.c.name == file, here).values(values)
        )
        if not changed.rowcount:
            raise Conflict("gathered_already", f"{file} was read by another process in the meantime")

    def logs(
        self,
        name: str,
        level: str | None = None,
        limit: int = 200,
        since: datetime | None = None,
        component: str | None = None,
        request_id: str | None = None,
        before: int | None = None,
    ) -> list[LogLine]:
        """The newest ``limit`` lines of at least that level that fit, oldest first. before: lines older than that id."""
        with self._reading() as transaction:
            query = select(pipeline_logs).where(pipeline_logs.c.pipeline_id == pipeline_id(transaction, name))
            if level in LEVELS:
                query = query.where(pipeline_logs.c.level.in_(LEVELS[LEVELS.index(level) :]))
            if since:
                query = query.where(pipeline_logs.c.ts >= since)
            if component:
                query = query.where(pipeline_logs.c.component == component)
            if request_id:
                query = query.where(pipeline_logs.c.request_id == request_id)
            if before:
                query = query.where(pipeline_logs.c.id < before)
            rows = transaction.execute(query.order_by(pipeline_logs.c.id.desc()).limit(limit)).all()
            return [
                LogLine(r.id, r.ts, r.level, r.component, r.message, r.context, r.request_id)
                for r in reversed(rows)
            ]

    def sweep_logs(self, days: int) -> int:
        """Forget older lines, a batch at a time; how many."""
        return self._forget(pipeline_logs.c.id, pipeline_logs.c.ts < now() - timedelta(days=days))

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

    def runs(self, name: str, limit: int = 50, offset: int = 0) -> tuple[list[Run], int]:
        """A page of runs, the newest first, and how many there are."""
        with self._reading() as transaction:
            ours = pipeline_runs.c.pipeline_id == pipeline_id(transaction, name)
            query = select(pipeline_runs).where(ours).order_by(pipeline_runs.c.started_at.desc())
            rows, total = page(transaction, query, limit, offset)
            return [_run(row) for row in rows], total

    def put_connectors(self, name: str, found: Sequence[Mapping[str, Any]]) -> None:
        """The connectors that a pipeline has now: name, type, connector_class, config, status, tasks_max each."""
        table = pipeline_connectors
        with self._writing() as transaction:
            id_ = pipeline_id(transaction, name)
            known = {r.name: r for r in transaction.execute(select(table).where(table.c.pipeline_id == id_))}
            for gone in known.keys() - {c["name"] for c in found}:
                transaction.execute(delete(table).where(table.c.id == known[gone].id))
            for one in found:
                row = known.get(one["name"])
                if row is None:
                    times = {"created_at": now(), "updated_at": now()}
                    transaction.execute(insert(table).values(pipeline_id=id_, **one, **times))
                elif any(getattr(row, field) != value for field, value in one.items()):
                    changed = {**one, "updated_at": now()}
                    transaction.execute(update(table).where(table.c.id == row.id).values(**changed))

    def pipeline_connectors(self, name: str) -> list[PipelineConnector]:
        """The connectors of a pipeline as last seen."""
        table = pipeline_connectors
        with self._reading() as transaction:
            query = select(table).where(table.c.pipeline_id == pipeline_id(transaction, name))
            return [
                PipelineConnector(
                    r.id,
                    r.pipeline_id,
                    r.name,
                    r.type,
                    r.connector_class,
                    r.config,
                    r.status,
                    r.tasks_max,
                    r.created_at,
                    r.updated_at,
                )
                for r in transaction.execute(query.order_by(table.c.name))
            ]

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
            query = select(table).where(*fits).order_by(table.c.topic, table.c.event_offset)
            rows, total = page(transaction, query, limit, offset)
            return [_letter(row) for row in rows], total

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
        row.pipeline_id,
        row.run_type,
        row.status,
        row.started_at,
        row.completed_at,
        row.rows_processed,
        row.errors_count,
        row.error_message,
        row.run_metadata,
    )


def _letter(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        row.id,
        row.pipeline_id,
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
