"""What faces ask of a running pipeline, and how they get their answers: resync, verify."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.apply.applier import Applier
from headrace.engines.model import Route, TableName
from headrace.engines.postgres.connection import Login
from headrace.errors import Bug, HeadraceError, NotFound, Unavailable
from headrace.spec.patterns import parse_table
from headrace.store import Store
from headrace.store.records import Request
from headrace.verify import run as run_verify
from headrace.verify.report import Report


class Answers:
    """Keeps track of requests that take a while. Used by the runner's thread and its helpers."""

    def __init__(self, store: Store, name: str, caught_up: Callable[[TableName], None]) -> None:
        self._store, self._name, self._caught_up = store, name, caught_up
        self._resyncs: dict[TableName, list[str]] = {}
        self._lock = threading.Lock()

    def table_of(
        self, request: Request, routes: Mapping[TableName, Route], tables: Sequence[TableName]
    ) -> TableName | None:
        """The table a resync names; None after the request was refused. Its answer comes with ``loaded``."""
        try:
            name = parse_table(str(request.args.get("table")))
        except HeadraceError as error:
            self._store.finish_request(request.id, error=error.as_dict())
            return None
        if name not in routes and name not in tables:
            self._refuse(request, str(name))
            return None
        with self._lock:
            self._resyncs.setdefault(name, []).append(request.id)
        return name

    def _refuse(self, request: Request, table: str) -> None:
        error = NotFound(
            "table_not_found", f"{table} is not in pipeline {self._name}", "See `headrace tables`."
        )
        self._store.finish_request(request.id, error=error.as_dict())

    def settle(self) -> None:
        """Answer the resyncs whose table is live (or has stopped for good)."""
        with self._lock:
            waiting = dict(self._resyncs)
        if not waiting:
            return
        for table in self._store.tables(self._name):
            if table.source in waiting and table.state in ("live", "paused", "error"):
                with self._lock:
                    ids = self._resyncs.pop(table.source, [])
                for id_ in ids:
                    if table.state == "live":
                        self._store.finish_request(
                            id_,
                            result={"table": str(table.source), "rows": table.rows_loaded, "cut": table.cut},
                        )
                    else:
                        self._store.finish_request(
                            id_, error=table.error or Bug("resync", "failed").as_dict()
                        )

    def refuse(self, error: HeadraceError) -> None:
        """End what waits for the pipeline to go on: it does not, by itself."""
        with self._lock:
            self._resyncs.clear()
        self._store.refuse_requests(self._name, error.as_dict())

    def verify(
        self, request: Request, source: Login, target: Login, routes: Sequence[Route], applier: Applier | None
    ) -> None:
        """Compare in a thread of its own."""
        wanted = request.args.get("table")
        chosen = [r for r in routes if wanted is None or r.source.name == parse_table(str(wanted))]
        if not chosen:
            self._refuse(request, str(wanted))
            return

        def body() -> None:
            try:
                report = run_verify(source, target, chosen, caught_up=self._caught_up)
                unrepaired: dict[str, dict[str, Any]] = {}
                if request.args.get("repair") and not report.equal and applier is not None:
                    unrepaired = _repair(report, chosen, applier)
                    report = run_verify(source, target, chosen, caught_up=self._caught_up)
                result = report.as_dict()
                for table in result["tables"]:
                    table["repair_error"] = unrepaired.get(table["name"])
                for route in chosen:
                    self._certify(route, report.table(route.source.name).as_dict())
                self._store.finish_request(request.id, result=result)
            except HeadraceError as error:
                self._store.finish_request(request.id, error=error.as_dict())
            except Exception as error:
                bug = Bug("verify", f"{type(error).__name__}: {error}", "See the worker's log.")
                self._store.finish_request(request.id, error=bug.as_dict())

        threading.Thread(target=body, name=f"verify-{self._name}", daemon=True).start()

    def _certify(self, route: Route, verified: dict[str, object]) -> None:
        self._store.put_certificate(
            self._name, route.source.name, {"table": str(route.source.name), "verification": verified}
        )


def _repair(report: Report, routes: Sequence[Route], applier: Applier) -> dict[str, dict[str, Any]]:
    """Repair what can be; table -> why it was not."""
    unrepaired = {}
    for route in routes:
        try:
            rows = report.keys_to_repair(route.source.name)
            keys = [tuple(row[k] for k in route.key) for row in rows]
            if keys and not applier.repair(route.source.name, keys):
                raise Unavailable(
                    "repair_waits", "The rows wait to be repaired still.", "Verify again later."
                )
        except HeadraceError as error:
            unrepaired[str(route.source.name)] = error.as_dict()
    return unrepaired
