"""The command about changes: who made which, to read and to take away."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from headrace.cli import show
from headrace.cli.command import Session, command
from headrace.cli.written import written


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(audit)


def audit(
    session: Session,
    since: Annotated[datetime | None, typer.Option("--since", help="Since then (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option("--until", help="Before then (UTC).")] = None,
    user: Annotated[str | None, typer.Option("--user", help="By this account: address or id.")] = None,
    entity: Annotated[
        str | None, typer.Option("--entity", help="Of this kind (pipeline), or this one (pipeline:ID).")
    ] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only this: created, deleted, ...")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many, the newest.")] = 100,
    export: Annotated[
        str | None,
        typer.Option(
            "--export",
            help="Write all that fit into this file: .csv, else JSON lines; - for standard output.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Changes, the newest first: who made them, from where, what was before and after."""
    kind, _, id_ = (entity or "").partition(":")
    which = {
        "start_time": show.utc(since),
        "end_time": show.utc(until),
        "user": user,
        "entity_type": kind or None,
        "entity_id": id_ or None,
        "action": action,
    }
    if export is None:
        session.answer(session.api.get("audit", **which, limit=limit)["items"], _show)
    else:
        _export(session, export, force, which)


def _export(session: Session, file: str, force: bool, which: dict[str, str | None]) -> None:
    kind = "csv" if file.lower().endswith(".csv") else "jsonl"
    with written(file, force) as out:
        size = sum(out.write(part) for part in session.api.download("audit/export", **which, format=kind))
    if file != "-":
        said = {"file": file, "format": kind, "bytes": size}
        session.answer(said, lambda f: show.line(f"Wrote {show.size(f['bytes'])} to {f['file']}."))


def _show(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            show.instant(e["timestamp"]),
            e["user_name"] or e["user_id"],
            e["address"],
            e["action"],
            f"{e['entity_type']} {e['entity_id']}",
        )
        for e in found
    ]
    show.table(("when", "who", "from", "did", "to"), rows)
