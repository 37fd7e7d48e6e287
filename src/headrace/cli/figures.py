"""Commands about what a pipeline did: metrics, runs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from headrace.cli import show
from headrace.cli.command import Session, command
from headrace.cli.life import Name
from headrace.cli.locate import path_part


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for run in (metrics, runs):
        command(app)(run)


def metrics(
    session: Session,
    name: Name,
    since: Annotated[
        datetime | None, typer.Option("--since", help="Since then (UTC); the last hour without.")
    ] = None,
    until: Annotated[datetime | None, typer.Option("--until", help="Before then (UTC).")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=2000, help="So many, the newest.")] = 60,
) -> None:
    """Figures of a pipeline over time; the longer the window, the coarser they are."""
    asked = {"start_time": show.utc(since), "end_time": show.utc(until), "limit": limit}
    session.answer(session.api.get(f"pipelines/{path_part(name)}/metrics", **asked), _show_metrics)


def runs(
    session: Session,
    name: Name,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many, the newest.")] = 50,
) -> None:
    """Loads and other runs of a pipeline, the newest first."""
    session.answer(session.api.get(f"pipelines/{path_part(name)}/runs", limit=limit)["items"], _show_runs)


def _show_metrics(found: dict[str, Any]) -> None:
    rows = [
        (
            show.instant(s["timestamp"]),
            _rounded(s["throughput_events_per_sec"]),
            _rounded(s["lag_seconds"]),
            s["lag_events"],
            show.size(s["lag_bytes"]),
            _rounded(s["latency_p50_ms"]),
            _rounded(s["latency_p99_ms"]),
            s["events_processed"],
            s["error_count"],
        )
        for s in found["items"]
    ]
    columns = ("when", "events/s", "lag s", "lag events", "lag", "p50 ms", "p99 ms", "events", "errors")
    show.table(columns, rows)


def _show_runs(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            show.instant(r["started_at"]),
            show.instant(r["completed_at"]),
            r["run_type"],
            r["status"],
            r["rows_processed"],
            r["error_message"],
        )
        for r in found
    ]
    show.table(("begun", "ended", "run", "status", "rows", "error"), rows, ("status",))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
