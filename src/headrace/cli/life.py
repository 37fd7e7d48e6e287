"""Commands about a pipeline's life: status, wait, start, stop, pause, resume, delete."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from headrace.cli import show
from headrace.cli.command import Session, command
from headrace.cli.locate import path_part
from headrace.errors import Bug, Invalid, Unavailable, from_dict

STATUSES = ("draft", "starting", "running", "idle", "paused", "stopping", "stopped", "error")
PHASES = ("seeding", "catching_up", "incremental")

Name = Annotated[str, typer.Argument(help="Name of the pipeline.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for run in (status, wait, start, stop, pause, resume, delete):
        command(app)(run)


def status(
    session: Session, name: Annotated[str | None, typer.Argument(help="A pipeline; all without.")] = None
) -> None:
    """Components and pipelines, or one pipeline's state, phase, tables and lag."""
    if name is None:
        session.answer(session.api.get("status"), _show_all)
    else:
        session.answer(session.api.get(f"pipelines/{path_part(name)}/status"), show_pipeline)


def wait(
    session: Session,
    name: Name,
    wanted: Annotated[str, typer.Option("--for", help="A status or a phase.")] = "incremental",
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds.")] = 300.0,
) -> None:
    """Wait until a pipeline has a status or phase. Exit 1 on time-out, or at once when it is in error."""
    if wanted not in (*STATUSES, *PHASES):
        accepted = ", ".join((*STATUSES, *PHASES))
        raise Invalid("bad_value", f"{wanted} is no status and no phase", f"Accepted: {accepted}.")
    found = _waited(session, name, wanted, time.monotonic() + timeout)
    session.answer(found, show_pipeline)
    if wanted not in (found["status"], found["phase"]):
        if not session.json and found["status"] != "error":
            show.error(Unavailable("timeout", f"{name} was not {wanted} within {timeout:g} s"))
        raise typer.Exit(1)


def _waited(session: Session, name: str, wanted: str, until: float) -> dict[str, Any]:
    path = f"pipelines/{path_part(name)}/status"
    found = session.api.get(path)
    while wanted not in (found["status"], found["phase"]) and found["status"] != "error":
        if time.monotonic() >= until:
            break
        time.sleep(0.2)
        try:
            found = session.api.get(path)
        except Unavailable:
            # The server may be restarting; the time-out decides.
            if time.monotonic() >= until:
                raise
    return found


def start(session: Session, name: Name) -> None:
    """Start a pipeline."""
    _steer(session, name, "start")


def stop(session: Session, name: Name) -> None:
    """Stop a pipeline; its slot stays and holds back WAL on the source until it starts again."""
    _steer(session, name, "stop", "stopped")
    if not session.json:
        show.line("The slot stays: the source keeps WAL for it. `headrace delete` releases it.")


def pause(session: Session, name: Name) -> None:
    """Let applying rest; capture goes on into Kafka."""
    _steer(session, name, "pause", "paused")


def resume(session: Session, name: Name) -> None:
    """Go on after a pause."""
    _steer(session, name, "resume")


def delete(
    session: Session,
    name: Name,
    drop_target: Annotated[bool, typer.Option("--drop-target", help="Drop the target tables too.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait until it is gone.")] = 300.0,
) -> None:
    """Remove slot, publication, connector, topics and progress; target data only with --drop-target."""
    session.api.delete(f"pipelines/{path_part(name)}", drop_target=drop_target)
    session.api.gone(name, timeout)
    session.answer(
        {"name": name, "status": "deleted", "phase": None}, lambda _: show.line(f"{name} is gone.")
    )


def _steer(session: Session, name: str, verb: str, wanted: str | None = None) -> None:
    found = session.api.post(f"pipelines/{path_part(name)}/{verb}")
    line = f"{name}: {found['status']}"
    if wanted not in (None, found["status"]):
        line += f"; `headrace wait {name} --for {wanted}` waits for it"
    session.answer(found, lambda _: show.line(line))


def _show_all(found: dict[str, Any]) -> None:
    parts = [(c["name"], c["state"], c["pid"] and str(c["pid"]), c["url"]) for c in found["components"]]
    show.table(("component", "state", "pid", "url"), parts, ("state",))
    if found["pipelines"]:
        rows = [(p["name"], p["status"], p["phase"]) for p in found["pipelines"]]
        show.table(("pipeline", "status", "phase"), rows, ("status", "phase"))
    else:
        show.line("No pipelines yet; `headrace init` writes a spec to start from.")


def show_pipeline(found: dict[str, Any]) -> None:
    """One pipeline's status for people."""
    lag, phase = found["lag"], f" ({found['phase']})" if found["phase"] else ""
    behind = ", ".join(f"{lag[k]} {k}" for k in ("events", "seconds", "bytes") if lag[k] is not None)
    show.line(f"{found['name']}: {found['status']}{phase}" + (f", behind by {behind}" if behind else ""))
    if found["error"]:
        show.error(from_dict({"kind": Bug.kind, **found["error"]}))
    show_tables(found["tables"])


def show_tables(tables: list[dict[str, Any]]) -> None:
    """Per-table states for people."""
    rows = [
        (t["name"], t["state"], t["rows_loaded"], t["rows_total"], (t["error"] or {}).get("message"))
        for t in tables
    ]
    if rows:
        show.table(("table", "state", "loaded", "of about", "error"), rows, ("state",))
