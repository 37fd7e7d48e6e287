"""Commands that are processes: server, worker, demo."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli import show
from headrace.cli.command import Session, command
from headrace.cli.locate import record_file
from headrace.errors import Unavailable
from headrace.settings import Settings

_BACKLOG = 512


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for run in (server, worker, demo):
        command(app)(run)


def server(
    session: Session,
    host: Annotated[str, typer.Option("--host", help="Address to bind to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
) -> None:
    """The API and the status page, until it is stopped."""
    from headrace.api import serving
    from headrace.api.app import create_app
    from headrace.local.folder import make
    from headrace.monitor.logging import set_up

    settings = session.settings
    set_up(settings, "server")
    make(settings.data)
    with _bound(host, port) as bound:
        url = f"http://{_reachable(host)}:{bound.getsockname()[1]}"
        app = create_app(settings, host)
        config = serving.config(app, settings)
        # uvicorn ends orderly on SIGTERM, then raises the signal again for whoever listened before it.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with _recorded(settings.data, url):
            session.answer(
                {"url": url, "pid": os.getpid()}, lambda f: show.line(f"Headrace serves {f['url']}")
            )
            _first_admin(app.state.gate.people.ensure_admin(), settings)
            serving.Server(config).run(sockets=[bound])


def _first_admin(made: tuple[str, str | None] | None, settings: Settings) -> None:
    """Tell a password that was made for the first account: to whoever looks, else by a file that only we can read."""
    if made is None or made[1] is None:
        return
    email, password = made
    if sys.stdout.isatty():
        show.line(f"The first account is {email}, its password {password} (shown this once)")
        return
    # Late: the store is most of what a command would import.
    from headrace.store.secrets import create_private

    settings.admin_file.unlink(missing_ok=True)
    create_private(settings.admin_file, f"{email} {password}\n")
    print(f"The first account's password is in {settings.admin_file}", file=sys.stderr)


def worker(session: Session) -> None:
    """The worker: reconciles, loads, applies, until it is stopped."""
    import headrace.worker

    headrace.worker.main(session.settings)


def demo(
    session: Session,
    once: Annotated[
        bool, typer.Option("--once", help="End by itself; exit 0 only when both sides are equal.")
    ] = False,
) -> None:
    """The main job on two real PostgreSQL servers of its own, with a writer that keeps changing the source."""
    from headrace.cli import demo as story

    raise typer.Exit(story.run(once=once) or 0)


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
            # Who reads our address calls before we are ready: the call waits then.
            bound.listen(_BACKLOG)
        except OSError as error:
            raise Unavailable(
                "port_busy",
                f"{host}:{port} cannot be bound: {error.strerror}",
                "Choose another with --port, or stop what uses it.",
            ) from None
        yield bound


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # nosec B104  # compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def _recorded(data: Path, url: str) -> Iterator[None]:
    from headrace.local.folder import writable

    file = record_file(data)
    mine = json.dumps({"data": str(data), "url": url, "pid": os.getpid()})
    with writable(data):
        file.write_text(mine, encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if file.read_text(encoding="utf-8") == mine:
                file.unlink()
