"""Looking at what is behind connections: databases, schemas, tables, columns, the first rows; and validating them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from headrace.checks.run import at, collect
from headrace.control import discovery
from headrace.control.preflight import login
from headrace.engines.model import Table, TableName
from headrace.engines.postgres import browse, catalog, checks_source, checks_target
from headrace.engines.postgres.connection import connect
from headrace.engines.postgres.pool import Pool
from headrace.errors import Finding, NotFound
from headrace.spec.models import ConnectionSpec, PipelineSpec
from headrace.spec.patterns import deciding, every_table, parse_name, select, table_named
from headrace.store import Store
from headrace.store.records import Connection

JSON = dict[str, Any]
FRESH_SECONDS = 600.0


class Browsing:
    """One object per process; threads may share it. What is found is kept ten minutes, or until it is asked anew."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = Pool()

    def close(self) -> None:
        """Give back connections."""
        self._pool.close()

    def databases(self, name: str, refresh: bool = False) -> JSON:
        """``{"connection", "items": [name], "fetched_at"}``."""
        connection = self._store.connection(name)

        def ask() -> list[str]:
            with self._pool.use(login(connection.spec)) as conn:
                return browse.databases(conn)

        items, when = self._kept(connection, "databases", ask, refresh)
        return _answer(connection, items, when)

    def schemas(self, name: str, database: str | None = None, refresh: bool = False) -> JSON:
        """Schemas with how many tables each has."""
        connection, tables, when = self._tables(name, database, refresh)
        counts: dict[str, int] = {}
        for table in tables:
            counts[table["schema"]] = counts.get(table["schema"], 0) + 1
        return _answer(connection, [{"name": n, "tables": c} for n, c in sorted(counts.items())], when)

    def tables(
        self, name: str, database: str | None = None, schema: str | None = None, refresh: bool = False
    ) -> JSON:
        """Tables with keys and estimates, without their columns."""
        connection, tables, when = self._tables(name, database, refresh)
        chosen = [t for t in tables if schema is None or t["schema"] == schema]
        return _answer(connection, [{k: v for k, v in t.items() if k != "columns"} for t in chosen], when)

    def columns(
        self,
        name: str,
        table: str,
        schema: str | None = None,
        database: str | None = None,
        refresh: bool = False,
    ) -> JSON:
        """Columns of a table, named as for ``preview``; NotFound ``no_such_table``."""
        wanted = _table(self._store.connection(name), table, schema)
        connection, tables, when = self._tables(name, database, refresh)
        found = next((t for t in tables if t["name"] == str(wanted)), None)
        if found is None:
            raise _no_table(wanted)
        return _answer(connection, found["columns"], when)

    def preview(
        self, name: str, table: str, limit: int, database: str | None = None, schema: str | None = None
    ) -> JSON:
        """The first rows as text; columns that a pipeline masks are masked here too. NotFound ``no_such_table``.

        table: ``schema.table``, or the name in ``schema``, or in the connection's own schema (else ``public``).
        """
        connection = self._store.connection(name)
        wanted = _table(connection, table, schema)
        with self._pool.use(_login(connection.spec, database)) as conn:
            described = catalog.describe(conn, [wanted])
            if not described:
                raise _no_table(wanted)
            masks = self._masks(connection.spec, database, described[0])
            rows = browse.preview(conn, described[0], limit, masks)
        columns = [{"name": c.name, "type": c.type, "masked": c.name in masks} for c in described[0].columns]
        return {"table": str(wanted), "columns": columns, "rows": rows}

    def discover(self, spec: ConnectionSpec) -> list[JSON]:
        """The tables behind a connection that is not stored."""
        with self._pool.use(login(spec)) as conn:
            return [discovery.table(t) for t in catalog.describe(conn)]

    def validate_source(self, spec: ConnectionSpec, tables: Sequence[str], mode: str) -> list[Finding]:
        """Every finding about a database as a source, before there is a pipeline. tables: all, when none is named."""
        where = login(spec)
        wanted = _pipeline(tables or [t.name for t in every_table(spec)], mode)

        def check() -> list[Finding]:
            with connect(where) as conn:
                everything = catalog.tables(conn)
                chosen = [n for n, _ in select(wanted, everything)] if everything else []
                described = catalog.describe(conn, chosen) if chosen else []
            return checks_source.check(
                where,
                described,
                slot="headrace_new",
                publication=None,
                replica_identity=wanted.replica_identity,
                mode=wanted.mode,
            )

        return collect(at("source", check))

    def validate_target(self, spec: ConnectionSpec, tables: Sequence[str], mode: str) -> list[Finding]:
        """Every finding about a database as a target, before there is a source.

        tables: those that would be written; of a pattern only its schema can be looked at.
        """
        where, patterns = login(spec), [parse_name(text) for text in tables]
        named = [p.table() for p in patterns if p.explicit]
        schemas = {p.schema.text for p in patterns if not p.explicit and not p.schema.wild}
        creates = mode != "cdc_only"
        return collect(
            at("target", lambda: checks_target.check_alone(where, named, schemas, create_target=creates))
        )

    def _tables(
        self, name: str, database: str | None, refresh: bool
    ) -> tuple[Connection, list[JSON], datetime]:
        connection = self._store.connection(name)

        def ask() -> list[JSON]:
            with self._pool.use(_login(connection.spec, database)) as conn:
                return [
                    {**discovery.table(t), "schema": t.name.schema, "table": t.name.name}
                    for t in catalog.describe(conn)
                ]

        found, when = self._kept(connection, f"tables {database or connection.spec.database}", ask, refresh)
        return connection, found, when

    def _kept(
        self, connection: Connection, what: str, ask: Callable[[], Any], refresh: bool
    ) -> tuple[Any, datetime]:
        kept = None if refresh else self._store.cached(connection.id, what, FRESH_SECONDS)
        if kept is not None:
            return kept
        found = ask()
        return found, self._store.put_cached(connection.id, what, found)

    def _masks(self, spec: ConnectionSpec, database: str | None, table: Table) -> dict[str, str]:
        """Column -> mask, of every pipeline that reads the table there, by whatever connection."""
        sources = {c.name: c.spec.address for c in self._store.connections(lost=True)[0]}
        place = _at(spec, database).address
        masks: dict[str, str] = {}
        for pipeline in self._store.pipelines():
            here = sources.get(pipeline.spec.source) == place
            if here and (entry := deciding(pipeline.spec, table.name)):
                masks |= entry.mask
        return {name: mask for name, mask in masks.items() if any(c.name == name for c in table.columns)}


def _pipeline(tables: Sequence[str], mode: str) -> PipelineSpec:
    return PipelineSpec.model_validate(
        {"source": "source", "target": "target", "mode": mode, "tables": list(tables)}
    )


def _table(connection: Connection, table: str, schema: str | None) -> TableName:
    return table_named(table, schema, connection.spec.default_schema or "public")


def _login(spec: ConnectionSpec, database: str | None) -> Any:
    return login(_at(spec, database))


def _at(spec: ConnectionSpec, database: str | None) -> ConnectionSpec:
    return spec if database is None else spec.model_copy(update={"database": database})


def _answer(connection: Connection, items: Any, when: datetime) -> JSON:
    return {"connection": connection.name, "items": items, "fetched_at": when.isoformat()}


def _no_table(table: TableName) -> NotFound:
    return NotFound(
        "no_such_table", f"There is no table {table}", "Ask again with refresh=true; compare the names."
    )
