"""Commands about the connectors of Kafka Connect, those of pipelines and any others."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from headrace.cli import show
from headrace.cli.command import Session, group
from headrace.cli.locate import path_part

Connector = Annotated[str, typer.Argument(help="Name of the connector.")]
Force = Annotated[bool, typer.Option("--force", help="Also one that belongs to a pipeline.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group(
        app,
        "connectors",
        "Connectors of Kafka Connect.",
        list=list_connectors,
        show=show_connector,
        pause=pause,
        resume=resume,
        stop=stop,
        restart=restart,
        offsets=offsets,
        delete=delete,
    )


def list_connectors(
    session: Session,
    kind: Annotated[Literal["source", "sink"] | None, typer.Option("--type", help="Only these.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="RUNNING, FAILED, ...; tasks count.")] = None,
    q: Annotated[str | None, typer.Option("--search", help="Part of the name.")] = None,
) -> None:
    """All connectors and their states."""
    session.answer(session.api.all("connectors", type=kind, state=state, q=q), _show_connectors)


def show_connector(session: Session, name: Connector) -> None:
    """One connector: states, configuration (secrets masked), why it failed."""
    session.answer(session.api.get(_path(name)), _show_connector)


def pause(session: Session, name: Connector, force: Force = False) -> None:
    """Let its tasks rest."""
    _steered(session, session.api.put(f"{_path(name)}/pause", force=force))


def resume(session: Session, name: Connector) -> None:
    """Go on, paused or stopped."""
    _steered(session, session.api.put(f"{_path(name)}/resume"))


def stop(session: Session, name: Connector, force: Force = False) -> None:
    """End its tasks; configuration and offsets stay."""
    _steered(session, session.api.put(f"{_path(name)}/stop", force=force))


def restart(
    session: Session,
    name: Connector,
    only_failed: Annotated[bool, typer.Option("--only-failed", help="Only what has failed.")] = False,
    task: Annotated[int | None, typer.Option("--task", min=0, help="Only this task.")] = None,
) -> None:
    """Restart it with its tasks."""
    if task is not None:
        found = session.api.post(f"{_path(name)}/tasks/{task}/restart")
    else:
        found = session.api.post(f"{_path(name)}/restart", include_tasks=True, only_failed=only_failed)
    _steered(session, found)


def offsets(
    session: Session,
    name: Connector,
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget them; the connector has to be stopped.")
    ] = False,
    force: Force = False,
) -> None:
    """How far it has got: of a source in its partitions, of a sink in its topics."""
    if reset:
        session.api.delete(f"{_path(name)}/offsets", force=force)
        session.answer({"name": name, "offsets": []}, lambda _: show.line(f"{name} has no offsets now."))
        return
    session.answer(session.api.get(f"{_path(name)}/offsets"), _show_offsets)


def delete(session: Session, name: Connector, force: Force = False) -> None:
    """Delete it; its offsets stay in Kafka."""
    session.api.delete(_path(name), force=force)
    session.answer({"name": name, "deleted": True}, lambda f: show.line(f"{f['name']} is gone."))


def _path(name: str) -> str:
    return f"connectors/{path_part(name)}"


def _steered(session: Session, found: dict[str, Any]) -> None:
    session.answer(found, lambda c: show.line(f"{c['name']}: {c['connector']['state']}"))


def _show_connectors(found: list[dict[str, Any]]) -> None:
    rows = [
        (c["name"], c["type"], c["connector"]["state"], _tasks(c), c["pipeline"], c["connector_class"])
        for c in found
    ]
    show.table(("connector", "type", "state", "tasks", "pipeline", "class"), rows, ("state",))


def _tasks(connector: dict[str, Any]) -> str:
    states = [task["state"] for task in connector["tasks"]]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _show_connector(found: dict[str, Any]) -> None:
    _show_connectors([found])
    for part in (found["connector"], *found["tasks"]):
        if part["trace"]:
            show.note(part["trace"].rstrip())
    show.table(("setting", "value"), sorted(found["config"].items()))


def _show_offsets(found: dict[str, Any]) -> None:
    rows = [
        tuple(json.dumps(o[k], ensure_ascii=False) for k in ("partition", "offset")) for o in found["offsets"]
    ]
    show.table(("partition", "offset"), rows)
