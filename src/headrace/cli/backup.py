"""Commands about the metadata as a whole: backup, restore, a new key. They work on its database, with or without a server."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import show
from headrace.cli.command import Session, command
from headrace.cli.locate import folder_of
from headrace.cli.written import written
from headrace.errors import Invalid
from headrace.settings import Settings

if TYPE_CHECKING:
    from headrace.store.archive import Manifest


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for run in (backup, restore, rotate_secrets):
        command(app)(run)


def backup(
    session: Session,
    file: Annotated[str, typer.Argument(help="Where to write it; - writes to standard output.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write all metadata into one file while everything runs. Secrets stay encrypted; the key is not in it."""
    # Late: the store is half a second of imports.
    from headrace.store import dump

    settings = _settings(session)
    with written(file, force) as out:
        made = dump.backup(settings, out)
    said = {"file": file, **_said(made), "key": _key(settings)}
    if file == "-":
        _explain(said, show.note)
    else:
        session.answer(said, lambda f: _explain(f, show.line))


def restore(
    session: Session,
    file: Annotated[str, typer.Argument(help="A file that `headrace backup` wrote.")],
    replacing: Annotated[
        bool, typer.Option("--replace", help="Also where there are accounts and pipelines; they are lost.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also while something seems to run.")] = False,
) -> None:
    """Put a backup in the place of the metadata, all or nothing, while nothing runs. Everybody has to log in again."""
    from headrace.store import dump

    settings = _settings(session)
    try:
        with Path(file).open("rb") as held:
            found = dump.restore(settings, held, replace=replacing, force=force)
    except OSError as error:
        raise Invalid("unreadable", f"{file}: {error.strerror}", "Name a file of headrace backup.") from None
    session.answer(
        {"file": file, **_said(found)},
        lambda f: show.line(
            f"Restored {f['rows']:,} rows as of {show.instant(f['created_at'])} UTC. Next: headrace up"
        ),
    )


def rotate_secrets(session: Session) -> None:
    """Encrypt all stored secrets with the first of the keys; the others are not needed after that."""
    from headrace.store import Store

    settings = _settings(session)
    store = Store(settings)
    try:
        count = store.rotate_secrets()
    finally:
        store.close()
    session.answer(
        {"rotated": count, "key": _key(settings)},
        lambda f: show.line(f"Encrypted {f['rotated']} secrets with the first key of {f['key']}."),
    )


def _settings(session: Session) -> Settings:
    if session.server:
        raise Invalid(
            "local_only",
            "This is done where the metadata is, not through a server",
            "Run it there, without --server and HEADRACE_SERVER.",
        )
    return replace(session.settings, data=folder_of(session.data, os.environ))


def _said(manifest: Manifest) -> dict[str, Any]:
    return {
        "created_at": manifest.created_at.isoformat(),
        "headrace": manifest.headrace,
        "revision": manifest.revision,
        "rows": manifest.rows,
        "tables": {name: part.rows for name, part in manifest.tables.items()},
        "keys": list(manifest.seals),
    }


def _key(settings: Settings) -> str:
    return "HEADRACE_SECRET_KEY" if os.environ.get("HEADRACE_SECRET_KEY") else str(settings.key_file)


def _explain(said: dict[str, Any], tell: Any) -> None:
    where = "standard output" if said["file"] == "-" else said["file"]
    tell(f"Wrote {said['rows']:,} rows of {len(said['tables'])} tables to {where}.")
    tell(
        f"The secrets in it stay encrypted and the key is not in it: keep secret.key with it, apart ({said['key']})."
    )
