"""Commands about data: tables, resync, verify, certificate, logs, connections, discover."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from headrace.cli import show
from headrace.cli.command import DIFFERENT, EXIT, Session, command, group, print_json
from headrace.cli.life import Name, show_tables
from headrace.cli.locate import path_part
from headrace.errors import from_dict

ConnectionName = Annotated[str, typer.Argument(help="Name of the connection.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for run in (tables, resync, verify, certificate, logs, discover):
        command(app)(run)
    own: dict[str, Callable[..., None]] = {
        "list": list_connections,
        "test": try_connection,
        "delete": delete_connection,
    }
    group(app, "connections", "Stored connections.", **own)


def tables(session: Session, name: Name) -> None:
    """Per-table state of a pipeline."""
    session.answer(session.api.get(f"pipelines/{path_part(name)}/tables")["items"], show_tables)


def resync(session: Session, name: Name, table: Annotated[str, typer.Argument(help="schema.table")]) -> None:
    """Exact reload of one table, while the others keep streaming."""
    asked = session.api.post(f"pipelines/{path_part(name)}/tables/{path_part(table)}/resync")
    result = session.api.finished(asked)
    answer = {"name": name, "table": asked["args"]["table"], "result": result}
    session.answer(
        answer, lambda a: show.line(f"{a['table']} is being reloaded; see headrace tables {name}.")
    )


def verify(
    session: Session,
    name: Name,
    table: Annotated[str | None, typer.Option("--table", help="Only this table.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what differs.")] = False,
) -> None:
    """Compare source and target while both move. Exit 6 when they differ, another one when they cannot be compared."""
    body = {"table": table, "repair": repair}
    report = session.api.finished(session.api.post(f"pipelines/{path_part(name)}/verify", body))
    session.answer(report, _show_report)
    if not report["equal"]:
        failed = [t["error"]["kind"] for t in report["tables"] if t.get("error")]
        raise typer.Exit(EXIT[failed[0]] if failed and not _differing(report) else DIFFERENT)


def certificate(session: Session, name: Name) -> None:
    """The handoff certificate: per table the cut, counts and checksums (JSON)."""
    print_json(session.api.get(f"pipelines/{path_part(name)}/certificate"))


def logs(
    session: Session,
    name: Name,
    level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option("--level", help="At least this level."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many lines.")] = 200,
    since: Annotated[datetime | None, typer.Option("--since", help="Only lines since then (UTC).")] = None,
    component: Annotated[
        str | None, typer.Option("--component", help="Only of this part: control, apply, connect, ...")
    ] = None,
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="Only what this call led to.")
    ] = None,
) -> None:
    """The newest lines of a pipeline's log."""
    asked = {
        "level": level,
        "limit": limit,
        "start_time": show.utc(since),
        "component": component,
        "request_id": request_id,
    }
    session.answer(session.api.get(f"pipelines/{path_part(name)}/logs", **asked)["items"], _show_logs)


def discover(session: Session, name: ConnectionName) -> None:
    """The tables behind a connection."""
    session.answer(session.api.get(f"connections/{path_part(name)}/tables"), _show_discovered)


def list_connections(session: Session) -> None:
    """All stored connections."""
    session.answer(session.api.all("connections"), _show_connections)


def try_connection(session: Session, name: ConnectionName) -> None:
    """Log in and say what is there."""
    found = session.api.post(f"connections/{path_part(name)}/test")
    if not found["ok"]:
        raise from_dict(found["error"])
    session.answer(
        found, lambda f: show.line(f"{f['name']}: ok, server {f['version']}, {f['response_time_ms']} ms")
    )


def delete_connection(session: Session, name: ConnectionName) -> None:
    """Forget a connection that no pipeline uses."""
    session.api.delete(f"connections/{path_part(name)}")
    session.answer({"name": name, "deleted": True}, lambda f: show.line(f"{f['name']} is gone."))


def _show_report(report: dict[str, Any]) -> None:
    rows = [(t["name"], t["source_rows"], t["target_rows"], _verdict(t)) for t in report["tables"]]
    show.table(("table", "source rows", "target rows", "equal"), rows)
    for table in report["tables"]:
        for found in table["differences"]:
            columns = f" ({', '.join(found['columns'])})" if found.get("columns") else ""
            show.line(f"{table['name']} {found['key']}: {found['kind']}{columns}")
        if (more := table.get("differences_total", 0) - len(table["differences"])) > 0:
            show.line(f"{table['name']}: {more:,} more")
        for why in filter(None, (table.get("error"), table.get("repair_error"))):
            message = why["message"].removeprefix(f"{table['name']}: ")
            show.line(f"{table['name']}: {message} {why.get('guidance', '')}".rstrip())
    show.line(_conclusion(report))


def _verdict(table: dict[str, Any]) -> str:
    if table.get("error"):
        return "not compared"
    moving = f", {table['unsettled_total']:,} moving" if table.get("unsettled_total") else ""
    return f"{'no' if _differs(table) else 'yes'}{moving}"


def _conclusion(report: dict[str, Any]) -> str:
    if report["equal"] and report.get("settled", True):
        return "Source and target are equal."
    if report["equal"]:
        return "Source and target are equal but for the rows that kept moving, which could not be judged."
    if _differing(report):
        return "Source and target differ."
    return "Source and target were not compared as a whole; nothing that was compared differs."


def _differing(report: dict[str, Any]) -> bool:
    return any(_differs(t) for t in report["tables"])


def _differs(table: dict[str, Any]) -> bool:
    return not table.get("error") and not table.get("equal", not table["differences"])


def _show_logs(lines: list[dict[str, Any]]) -> None:
    for one in lines:
        show.out().print(f"{one['ts'][:19]} {show.toned(one['level'])} {one['component']}", end=" ")
        show.line(one["message"])


def _show_connections(found: list[dict[str, Any]]) -> None:
    rows = [
        (c["name"], c["engine"], f"{c['host']}:{c['port']}/{c['database']}", c["user"], c["last_test_status"])
        for c in found
    ]
    show.table(("connection", "engine", "where", "user", "last test"), rows)


def _show_discovered(found: dict[str, Any]) -> None:
    rows = [
        (t["name"], t["rows"], show.size(t["bytes"]), ", ".join(t["key"]) or "none", len(t["columns"]))
        for t in found["tables"]
    ]
    show.table(("table", "about rows", "size", "key", "columns"), rows)
