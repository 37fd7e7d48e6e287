"""Commands about dead letters: events that the target refused."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from headrace.cli import show
from headrace.cli.command import Session, group, print_json
from headrace.cli.life import Name
from headrace.cli.locate import path_part
from headrace.errors import Invalid, NotFound

Ids = Annotated[list[str] | None, typer.Argument(help="Ids of dead letters.")]
Every = Annotated[bool, typer.Option("--all", help="All that wait.")]
_MOST = 1000


def register(app: typer.Typer) -> None:
    """Add the group."""
    group(
        app,
        "dead-letters",
        "Events that the target refused.",
        list=list_letters,
        show=show_letter,
        replay=replay,
        discard=discard,
    )


def list_letters(
    session: Session,
    name: Name,
    status: Annotated[
        Literal["waiting", "replayed", "discarded"] | None, typer.Option("--status", help="Only these.")
    ] = None,
    table: Annotated[str | None, typer.Option("--table", help="Only of schema.table.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many.")] = 100,
) -> None:
    """Dead letters of a pipeline in the order they came."""
    found = session.api.get(_path(name), status=status, table=table, limit=limit)
    session.answer(found["items"], _show_letters)


def show_letter(
    session: Session, name: Name, letter: Annotated[str, typer.Argument(help="Id of the dead letter.")]
) -> None:
    """One dead letter with its event (JSON)."""
    for found in session.api.all(_path(name)):
        if found["id"] == letter:
            print_json(found)
            return
    raise NotFound(
        "no_such_dead_letter",
        f"{name} has no dead letter {letter}",
        f"See headrace dead-letters list {name}.",
    )


def replay(session: Session, name: Name, letters: Ids = None, every: Every = False) -> None:
    """Apply dead letters again."""
    _settle(session, name, letters, every, "replay")


def discard(session: Session, name: Name, letters: Ids = None, every: Every = False) -> None:
    """Give dead letters up: the target stays without them."""
    _settle(session, name, letters, every, "discard")


def _settle(session: Session, name: str, letters: list[str] | None, every: bool, action: str) -> None:
    if bool(letters) is every:
        raise Invalid("which", "Name dead letters, or use --all", f"See headrace dead-letters list {name}.")
    ids = letters or [found["id"] for found in session.api.all(_path(name), status="waiting")]
    settled = 0
    for at in range(0, len(ids), _MOST):
        some = {"action": action, "ids": ids[at : at + _MOST]}
        settled += session.api.post(_path(name), some)["settled"]
    word = "discarded" if action == "discard" else "replayed"
    session.answer({"settled": settled}, lambda f: show.line(f"{f['settled']} {word}."))


def _path(name: str) -> str:
    return f"pipelines/{path_part(name)}/dead-letters"


def _show_letters(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            show.instant(x["created_at"]),
            x["table"],
            json.dumps(x["key"], ensure_ascii=False),
            x["status"],
            x["cause"],
            x["message"],
            x["id"],
        )
        for x in found
    ]
    show.table(("when", "table", "key", "status", "cause", "message", "id"), rows)
