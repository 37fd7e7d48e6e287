"""The program, put together."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated

import typer

from headrace.cli import (
    alerts,
    audit,
    backup,
    connectors,
    data,
    figures,
    letters,
    life,
    login,
    processes,
    specs,
    topics,
    users,
)

app = typer.Typer(
    name="headrace",
    help="Change data capture that a team can trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("headrace"))
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_say_version, help="Say the version and leave."),
    ] = False,
) -> None:
    """Change data capture that a team can trust."""


ROOMS = (
    specs, life, data, figures, connectors, topics, letters, alerts, audit, login, users, backup, processes,
)  # fmt: skip
for _room in ROOMS:
    _room.register(app)
if find_spec("headrace.cli.local"):
    from headrace.cli import local

    local.register(app)
