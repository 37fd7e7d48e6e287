"""The tables of a pipeline, each with its state, its cut and its certificate."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Row, and_, bindparam, delete, func, insert, select, update

from headrace.errors import Bug, NotFound
from headrace.spec.names import TableName
from headrace.store.base import Part, Transaction, pipeline_id
from headrace.store.database import now
from headrace.store.records import TableState
from headrace.store.schema import pipeline_tables
from headrace.store.telling import publish

_OF_PIPELINE = select(pipeline_tables).where(pipeline_tables.c.pipeline_id == bindparam("pipeline"))
_COUNTED = select(func.count()).select_from(_OF_PIPELINE.subquery())
_PAGE = _OF_PIPELINE.order_by(pipeline_tables.c.source_schema, pipeline_tables.c.source_name)
_FIELDS = ("state", "rows_loaded", "rows_total", "cut", "error", "detail")


class Tables(Part):
    """Reading and writing table states."""

    def tables(self, name: str) -> list[TableState]:
        """All tables of a pipeline, by source name; NotFound without the pipeline."""
        with self._reading() as transaction:
            id_ = pipeline_id(transaction, name)
            rows = transaction.execute(_OF_PIPELINE, {"pipeline": id_})
            return sorted((_record(row) for row in rows), key=lambda t: t.source)

    def listed_tables(self, name: str, limit: int = 100, offset: int = 0) -> tuple[list[TableState], int]:
        """A page of the tables of a pipeline by source name, and how many there are; NotFound without the pipeline."""
        with self._reading() as transaction:
            of = {"pipeline": pipeline_id(transaction, name)}
            total = transaction.execute(_COUNTED, of).scalar_one()
            rows = transaction.execute(_PAGE.limit(limit).offset(offset), of)
            return [_record(row) for row in rows], total

    def put_table(self, name: str, table: TableState) -> None:
        """Create or replace one table's state (its certificate stays)."""
        values = {
            "target_schema": table.target.schema,
            "target_name": table.target.name,
            **{f: getattr(table, f) for f in _FIELDS},
            "updated_at": now(),
        }
        with self._writing() as transaction:
            id_ = pipeline_id(transaction, name)
            changed = transaction.execute(
                update(pipeline_tables).where(_is(id_, table.source)).values(**values)
            )
            if not changed.rowcount:
                source = {"source_schema": table.source.schema, "source_name": table.source.name}
                transaction.execute(insert(pipeline_tables).values(pipeline_id=id_, **source, **values))
            _tell(transaction, name, table.source, values)

    def update_table(self, name: str, source: TableName, **fields: Any) -> None:
        """Change some fields of one table (``target`` takes a TableName); NotFound ``no_such_table``."""
        if unknown := set(fields) - {*_FIELDS, "target"}:
            raise Bug("unknown_field", f"A table state has no {', '.join(sorted(unknown))}")
        if target := fields.pop("target", None):
            fields |= {"target_schema": target.schema, "target_name": target.name}
        self._update(name, source, fields)

    def remove_table(self, name: str, source: TableName) -> None:
        """Forget one table; no error when it is not there."""
        with self._writing() as transaction:
            id_ = pipeline_id(transaction, name)
            transaction.execute(delete(pipeline_tables).where(_is(id_, source)))

    def put_certificate(self, name: str, source: TableName, certificate: dict[str, Any] | None) -> None:
        """Store one table's certificate; NotFound ``no_such_table``."""
        self._update(name, source, {"certificate": certificate})

    def certificate(self, name: str) -> list[dict[str, Any]]:
        """The certificates of a pipeline's tables, by source name; tables without one are left out."""
        with self._reading() as transaction:
            id_ = pipeline_id(transaction, name)
            query = select(pipeline_tables.c.certificate).where(pipeline_tables.c.pipeline_id == id_)
            ordered = query.order_by(pipeline_tables.c.source_schema, pipeline_tables.c.source_name)
            return [found for found in transaction.execute(ordered).scalars() if found]

    def _update(self, name: str, source: TableName, values: dict[str, Any]) -> None:
        with self._writing() as transaction:
            id_ = pipeline_id(transaction, name)
            changed = transaction.execute(
                update(pipeline_tables).where(_is(id_, source)).values(**values, updated_at=now())
            )
            if not changed.rowcount:
                raise NotFound(
                    "no_such_table",
                    f"The pipeline {name} has no table {source}",
                    f"See `headrace tables {name}`.",
                    {"table": str(source)},
                )
            _tell(transaction, name, source, values)


def _tell(transaction: Transaction, name: str, source: TableName, values: dict[str, Any]) -> None:
    """What those who watch see of a change."""
    said: dict[str, Any] = {f: values[f] for f in ("state", "rows_loaded", "rows_total") if f in values}
    if "error" in values:
        error = values["error"]
        said["error"] = error and {k: error.get(k) for k in ("code", "message", "guidance")}
    if said:
        publish(transaction, "tables", name, {"table": str(source), **said})


def _is(id_: str, source: TableName) -> ColumnElement[bool]:
    return and_(
        pipeline_tables.c.pipeline_id == id_,
        pipeline_tables.c.source_schema == source.schema,
        pipeline_tables.c.source_name == source.name,
    )


def _record(row: Row[Any]) -> TableState:
    return TableState(
        TableName(row.source_schema, row.source_name),
        TableName(row.target_schema, row.target_name),
        **{f: getattr(row, f) for f in _FIELDS},
    )
