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
from headrace.errors import Finding, HeadraceError, NotFound
from headrace.plan.routes import routes
from headrace.spec.models import ConnectionSpec, PipelineSpec
from headrace.spec.patterns import deciding, parse_table, select
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
        self, name: str, table: TableName, database: str | None = None, refresh: bool = False
    ) -> JSON:
        """Columns of a table; NotFound ``no_such_table``."""
        connection, tables, when = self._tables(name, database, refresh)
        found = next((t for t in tables if t["name"] == str(table)), None)
        if found is None:
            raise _no_table(table)
        return _answer(connection, found["columns"], when)

    def preview(self, name: str, table: str, limit: int, database: str | None = None) -> JSON:
        """The first rows as text; columns that a pipeline masks are masked here too. NotFound ``no_such_table``."""
        connection = self._store.connection(name)
        wanted = parse_table(table)
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

    def validate(self, side: str, spec: ConnectionSpec, tables: Sequence[str], mode: str) -> list[Finding]:
        """Every finding about a database as ``source`` or ``destination``, before there is a pipeline."""
        where = login(spec)
        try:
            with connect(where) as conn:
                everything = catalog.tables(conn)
                wanted = _pipeline(tables, mode)
                chosen = [n for n, _ in select(wanted, everything)] if everything and side == "source" else []
                described = catalog.describe(conn, chosen) if chosen else []
        except HeadraceError as error:
            return [
                Finding(
                    error.code,
                    "error",
                    "source" if side == "source" else "target",
                    error.message,
                    error.guidance,
                )
            ]
        if side == "source":
            return collect(
                at(
                    "source",
                    lambda: checks_source.check(
                        where,
                        described,
                        slot="headrace_new",
                        publication=None,
                        replica_identity=wanted.replica_identity,
                        mode=wanted.mode,
                    ),
                )
            )
        planned = routes(wanted, described)
        return collect(
            at(
                "target",
                lambda: checks_target.check(
                    where, planned, create_target=True, fresh={r.target for r in planned}, pipeline="new"
                ),
            )
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
    data: JSON = {"source": "source", "target": "target", "mode": mode}
    if tables:
        data["tables"] = list(tables)
    return PipelineSpec.model_validate(data)


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
