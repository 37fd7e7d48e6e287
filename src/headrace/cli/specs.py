"""Commands about a spec file: init, check, plan, apply."""

from __future__ import annotations

import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli import show
from headrace.cli.command import EXIT, Session, blocked, command
from headrace.errors import Conflict, Invalid

File = Annotated[str, typer.Option("--file", "-f", help="The spec; - reads standard input.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for run in (check, plan, apply, init):
        command(app)(run)


def check(session: Session, file: File) -> None:
    """Preflight of a spec: every finding, with the SQL that mends it. Exit 4 when one blocks."""
    found = session.api.post("check", body_of(file))
    session.answer(found, _show_check)
    if not found["ok"]:
        raise typer.Exit(EXIT["precondition"])


def plan(session: Session, file: File) -> None:
    """What apply would bring about: rows, bytes, DDL, findings. Exit 4 when a finding blocks."""
    found = session.api.post("plan", body_of(file))
    session.answer(found, _show_plan)
    if any(blocked(p["findings"]) for p in found["pipelines"]):
        raise typer.Exit(EXIT["precondition"])


def apply(
    session: Session,
    file: File,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start the pipelines.")] = True,
) -> None:
    """Bring a spec about. Repeating it changes nothing; what does not validate in full changes nothing."""
    session.answer(session.api.post("apply", {**body_of(file), "start": start}), _show_applied)


def init(
    session: Session,
    file: Annotated[
        str, typer.Argument(help="Where to write it; - writes to standard output.")
    ] = "spec.yaml",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented spec to start from."""
    text = files("headrace.cli").joinpath("example.yaml").read_text(encoding="utf-8")
    if file == "-":
        sys.stdout.write(text)
        return
    try:
        with Path(file).open("w" if force else "x", encoding="utf-8") as written:
            written.write(text)
    except FileExistsError:
        raise Conflict(
            "file_exists", f"{file} is there already", "Name another file, or use --force."
        ) from None
    except OSError as error:
        raise Invalid("unwritable", f"{file}: {error.strerror}", "Name another file.") from None
    session.answer({"file": file}, lambda _: show.line(f"Wrote {file}. Next: headrace check -f {file}"))


def body_of(file: str) -> dict[str, Any]:
    """The API's body for a spec file: validated here (with lines), secrets resolved from our environment."""
    from headrace.spec.load import load_spec
    from headrace.spec.secrets import plain, references, resolve_secrets

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise Invalid("unreadable_spec", f"{file}: {why}", "Name the spec with -f FILE.") from None
    spec = load_spec(text, "stdin" if file == "-" else file)
    kept = {name: references(c) for name, c in spec.connections.items()}
    return {
        "connections": {n: plain(resolve_secrets(c, os.environ)) for n, c in spec.connections.items()},
        "pipelines": {
            name: p.model_dump(mode="json", exclude_unset=True) for name, p in spec.pipelines.items()
        },
        "references": {name: found for name, found in kept.items() if found},
    }


def _show_check(found: dict[str, Any]) -> None:
    for pipeline in found["pipelines"]:
        show.line(f"{pipeline['name']}: {len(pipeline['findings'])} finding(s)")
        show.findings(pipeline["findings"])
    show.line("Ready to apply." if found["ok"] else "Mend the errors above, then check again.")


def _show_plan(found: dict[str, Any]) -> None:
    columns = ("source", "target", "key", "rows", "size", "columns")
    for pipeline in found["pipelines"]:
        show.line(f"{pipeline['name']}: {pipeline['result']}")
        rows = [
            (
                t["source"],
                t["target"],
                ", ".join(t["key"]) or "none",
                t["rows"],
                show.size(t["bytes"]),
                t["columns"],
            )
            for t in pipeline["tables"]
        ]
        show.table(columns, rows)
        for name, value in (pipeline["estimate"] or {}).items():
            show.line(f"{name}: {'unknown' if value is None else value}")
        for statement in pipeline["ddl"]:
            show.line(f"{statement.rstrip(';')};")
        show.findings(pipeline["findings"])


def _show_applied(found: dict[str, Any]) -> None:
    rows = [("connection", c["name"], c["result"], "") for c in found["connections"]]
    rows += [("pipeline", p["name"], p["result"], p["status"]) for p in found["pipelines"]]
    show.table(("kind", "name", "result", "status"), rows, ("status",))
    for pipeline in found["pipelines"]:
        show.findings(pipeline["findings"])
