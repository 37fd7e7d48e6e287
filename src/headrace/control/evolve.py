"""Following a source whose tables change while they are streamed."""

from __future__ import annotations

import threading
from typing import Any

from headrace.control import drift
from headrace.control.loading import prerequisites, run
from headrace.control.preflight import read_routes
from headrace.control.shape import shape_of
from headrace.engines.model import Route, TableName
from headrace.engines.postgres import catalog, ddl, progress
from headrace.engines.postgres.connection import Connection, Login, connect, translated
from headrace.engines.postgres.events import SchemaDrift
from headrace.errors import Conflict, HeadraceError, Precondition
from headrace.store import Store
from headrace.store.records import Pipeline, TableState


class Evolution:
    """Decides, per table, between adding columns, loading again and pausing. Used by two threads.

    The routes it is given are the runner's own dict: a table whose columns were added gets its new route there.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._lock = threading.RLock()
        self._routes: dict[TableName, Route] = {}
        self._lenient: dict[TableName, frozenset[str]] = {}
        self._misfits: set[TableName] = set()
        self._widened = False
        self._pipeline: Pipeline | None = None
        self._source: Login | None = None
        self._target: Login | None = None

    def begin(self, pipeline: Pipeline, source: Login, target: Login, routes: dict[TableName, Route]) -> None:
        """Start from these routes."""
        with self._lock:
            self._pipeline, self._source, self._target, self._routes = pipeline, source, target, routes

    def lenient(self, name: TableName) -> frozenset[str]:
        """Columns added since the table was loaded: events from before them lack them."""
        return self._lenient.get(name, frozenset())

    def widened(self) -> bool:
        """Whether columns came since this was asked: the connector may need to be told of them."""
        with self._lock:
            widened, self._widened = self._widened, False
            return widened

    def look(self, conn: Connection) -> None:
        """Compare every table with what it was; called about once a second with a connection to the source."""
        with self._lock:
            now = catalog.signatures(conn, list(self._routes))
            changed = [n for n, r in self._routes.items() if now.get(n, ("",))[0] != r.source.signature]
            for name in changed:
                if self._state(name).state not in ("paused", "error", "pending"):
                    self.decide(name)
            for name in self._emptied(now):
                self._log("warning", f"a partition of {name} was truncated or rewritten: loading it again")
                self.reload(name)

    def _emptied(self, now: dict[TableName, catalog.Signature]) -> list[TableName]:
        """Partitioned tables with a partition whose file is new: its TRUNCATE is in no log."""
        if not any(r.source.partitioned for r in self._routes.values()):
            return []
        found = []
        for table in self._store.tables(self._name):
            then = dict(table.detail.get("files") or ())
            files = now[table.source][1] if table.source in now else ()
            moved = any(then.get(oid, file) != file for oid, file in files)
            if moved and table.state in ("live", "catching_up"):
                found.append(table.source)
        return found

    def on_event(self, name: TableName, error: SchemaDrift) -> bool:
        """An event does not fit; True when the route was mended and the event can be read again."""
        with self._lock:
            before = self._routes.get(name)
            fields = set(error.context.get("columns", ()))
            if before is not None and error.code == "unknown_field":
                if fields <= {c.name for c in before.source.columns}:
                    return True
                self.decide(name, error)
                after = self._routes.get(name)
                return after is not before and self._state(name).state in ("live", "catching_up")
            return False

    def decide(self, name: TableName, error: HeadraceError | None = None) -> bool:
        """Look at one table and follow what became of it; whether anything did."""
        with self._lock:
            old = self._routes.get(name)
            if old is None:
                return False
            new = self._fresh(name)
            evolve = self._pipeline is not None and self._pipeline.spec.schema_changes == "evolve"
            found = drift.compare(old, new, evolve)
            if found.answer == "add" and new is not None:
                self._add(old, new, found)
            elif found.answer == "reload" and new is not None:
                self._routes[name] = new
                self._log("warning", f"{found.why}: loading it again from a new cut")
                self.reload(name, rebuild=True, shape=shape_of(new))
            elif found.answer == "pause":
                self.pause(name, found.why)
            elif error is not None and self._state(name).state in ("live", "catching_up"):
                self._misfit(name, error)
            else:
                return False
            return True

    def _misfit(self, name: TableName, error: HeadraceError) -> None:
        """Events that the catalogue of now does not explain: a new cut leaves them behind, once."""
        if name in self._misfits:
            self.pause(name, error.message)
            return
        self._misfits.add(name)
        self._log("warning", f"{name}: {error.message}; loading it again from a new cut")
        self.reload(name)

    def _fresh(self, name: TableName) -> Route | None:
        assert self._pipeline is not None
        assert self._source is not None
        try:
            return {r.source.name: r for r in read_routes(self._pipeline.spec, self._source)}.get(name)
        except Precondition:
            raise
        except HeadraceError as error:
            if error.kind == "unavailable":
                raise
            return None

    def _add(self, old: Route, new: Route, found: drift.Drift) -> None:
        assert self._source is not None
        assert self._target is not None
        name = old.source.name
        with (
            connect(self._target, name="headrace control", lock_timeout="10s") as conn,
            connect(self._source, name="headrace catalog") as source,
        ):
            prerequisites(conn, source, [new])
            masked = {m.source.name for m in new.columns if m.mask}
            filled = bool(new.key) and all(
                c.name not in masked
                and not ddl.needs_backfill(c)
                and catalog.filled_alike(source, old.source, new.source, c)
                for c in found.added
            )
            known = ddl.facts(conn)
            with translated(), conn.transaction():
                for column in found.added:
                    there = conn.execute(
                        "SELECT 1 FROM pg_attribute WHERE attrelid = format('%%I.%%I', %s::text, %s::text)::regclass"
                        " AND attname = %s AND NOT attisdropped",
                        [new.target.schema, new.target.name, column.name],
                    ).fetchone()
                    if there is None:
                        run(conn, [ddl.add_column(new, column, known=known, filled=filled)])
        names = [c.name for c in found.added]
        self._routes[name] = new
        self._widened = True
        self._lenient[name] = self._lenient.get(name, frozenset()) | frozenset(names)
        again = "" if filled else "; what it holds in existing rows is in no event: loading the table again"
        self._log("info", f"{name}: column {', '.join(names)} added{again}")
        if not filled:
            self.reload(name, finish=names, shape=shape_of(new))
        else:
            self._detail(name)

    def reload(
        self,
        name: TableName,
        *,
        rebuild: bool = False,
        finish: list[str] | None = None,
        shape: str = "",
    ) -> None:
        """Put a table on hold and have it loaded again from a new cut. shape: the one it gets, where it changes."""
        with self._lock:
            state = self._state(name)
            detail: dict[str, Any] = {**state.detail}
            if rebuild:
                detail["rebuild"] = True
            if finish:
                detail["finish"] = [*(detail.get("finish") or []), *finish]
            if shape:
                detail["shape"] = shape
            self._hold(name)
            self._store.update_table(self._name, name, state="pending", error=None, detail=detail)

    def pause(self, name: TableName, why: str, error: HeadraceError | None = None) -> None:
        """Stop applying a table, and say why and what to do.

        error: what the applier met. It counts while the table streams; one that is to be loaded again is past it.
        """
        with self._lock:
            if error is not None and self._state(name).state not in ("live", "catching_up"):
                return
            shown = Conflict(
                error.code if error is not None else "schema_changed",
                why,
                f"Run `headrace resync {self._name} {name}` to load the table again as it is now.",
                dict(error.context) if error is not None else {},
            )
            self._hold(name)
            self._store.update_table(self._name, name, state="paused", error=shown.as_dict())
            self._log("error", f"{name} is paused: {why}")

    def _hold(self, name: TableName) -> None:
        if self._target is None:
            return
        with connect(self._target, name="headrace control") as conn:
            row = progress.load_all(conn, self._name).get(name)
            if row is not None and row.state == "live":
                progress.set_state(conn, self._name, name, "held")

    def _detail(self, name: TableName) -> None:
        state = self._state(name)
        detail = {**state.detail, "shape": shape_of(self._routes[name])}
        self._store.update_table(self._name, name, detail=detail)

    def _state(self, name: TableName) -> TableState:
        for table in self._store.tables(self._name):
            if table.source == name:
                return table
        return TableState(name, self._routes[name].target)

    def _log(self, level: str, message: str) -> None:
        self._store.log(self._name, level, "schema", message)
