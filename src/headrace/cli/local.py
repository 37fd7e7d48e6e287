"""Commands for the installation on this machine: ``up``, ``down``, ``fetch``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace import settings

if TYPE_CHECKING:
    from headrace.local.supervise import Options

Data = Annotated[Path | None, typer.Option(help="Folder of the installation.", envvar="HEADRACE_DATA")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def up(
    *,
    detached: Annotated[bool, typer.Option("--detach", help="Return once everything runs.")] = False,
    port: Annotated[int, typer.Option(help="Port of API and web UI.")] = 8000,
    kafka_port: Annotated[int, typer.Option(help="Port of the embedded Kafka.")] = 9092,
    connect_port: Annotated[int, typer.Option(help="Port of the embedded Kafka Connect.")] = 8083,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Start Kafka, Kafka Connect, the server and the worker; stop them with Ctrl-C or `headrace down`."""
    # Imported where used: every other command would pay for them at its start.
    from headrace.local import detach, supervise

    folder = settings.from_environment(data=data).data
    options = supervise.Options(folder, port, kafka_port, connect_port)
    if detached:
        detach.up_detached(options)
        _say_up(options, as_json)
    else:
        supervise.up(options, on_ready=lambda: _say_up(options, as_json))


def down(data: Data = None, as_json: Json = False) -> None:
    """Stop the installation that runs on this machine."""
    from headrace.local import installation

    found = installation.current()
    folder = settings.from_environment(data=data or (Path(found["data"]) if found else None)).data
    stopped = installation.down(folder)
    _say(
        {"stopped": stopped, "data": str(folder)},
        f"Stopped the installation in {folder}." if stopped else f"Nothing runs in {folder}.",
        as_json,
    )


def fetch(
    *,
    group: Annotated[list[str] | None, typer.Option(help="Only these parts of the engine.")] = None,
    train: Annotated[bool, typer.Option(help="Also make the caches that halve Java's start.")] = False,
    as_json: Json = False,
) -> None:
    """Download and verify the engine, for use without network."""
    from headrace.local.artifacts import ENGINE, cache_folder, of_groups
    from headrace.local.fetch import fetch as fetch_groups
    from headrace.local.fetch import plugins

    groups = group or list(ENGINE)
    files = fetch_groups(groups)
    plugins([name for name in groups if name in ("debezium-postgres", "jdbc")])
    if train:
        from headrace.local import aot

        aot.train()
    size = sum(artifact.size for artifact in of_groups(groups))
    _say(
        {"files": len(files), "bytes": size, "cache": str(cache_folder())},
        f"{len(files)} files, {size / 1e6:.0f} MB, verified in {cache_folder()}.",
        as_json,
    )


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("fetch")(fetch)


def _say_up(options: Options, as_json: bool) -> None:
    from headrace.local import installation

    rows = installation.status(options.data)
    token = (options.data / "token").read_text(encoding="ascii").strip()
    words = f"Headrace runs on {options.data}. Status page: {options.url}/#token={token}"
    result = {"ready": True, "url": options.url, "data": str(options.data), "components": rows}
    file = settings.Settings(options.data).admin_file
    if file.exists():
        email, _, password = file.read_text(encoding="ascii").strip().partition(" ")
        words += f"\nThe first account is {email}, its password {password} (shown this once)"
        result["admin"] = {"email": email, "password": password}
        file.unlink()
    _say(result, words, as_json)


def _say(result: dict[str, Any], words: str, as_json: bool) -> None:
    typer.echo(json.dumps(result) if as_json else words)
