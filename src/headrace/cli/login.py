"""Commands about oneself: login, logout, whoami."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from headrace.cli import kept, show
from headrace.cli.command import Session, command
from headrace.cli.locate import Server, locate, path_part, require_url
from headrace.errors import Denied, HeadraceError, Invalid, NotFound

if TYPE_CHECKING:
    from headrace.cli.client import Client

Email = Annotated[str | None, typer.Option("--email", help="Address of the account.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input, one line.")
]
Days = Annotated[int, typer.Option("--days", min=1, max=3650, help="How long the token lives.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for run in (login, logout, whoami):
        command(app)(run)


def login(
    session: Session, email: Email = None, password_stdin: PasswordStdin = False, days: Days = 30
) -> None:
    """Keep a token for a server. The password is asked for, or taken from HEADRACE_PASSWORD or --password-stdin."""
    with entered(session, email, password_stdin) as (server, user, api):
        body = {"name": f"cli {socket.gethostname()}"[:128], "scopes": ["*"], "expires_in_days": days}
        made = api.post("tokens", body)
    said = {"server": server.url, "user": user, "token": made["id"], "expires_at": made["expires_at"]}
    before = kept.login(server.url)
    kept.keep(server.url, {**{k: made[k] for k in ("token", "id", "expires_at")}, "email": user})
    if before is not None:
        _let_go(server, before)
    session.answer(
        said,
        lambda f: show.line(f"Logged in at {f['server']} as {user} until {show.instant(f['expires_at'])}."),
    )


def logout(session: Session) -> None:
    """Revoke the token that is kept for a server, and forget it."""
    server = where(session)
    before = kept.login(server.url)
    if before is None:
        session.answer(
            {"server": server.url, "logged_out": False},
            lambda _: show.line(f"No login is kept for {server.url}."),
        )
        return
    kept.forget(server.url)
    failed = _let_go(server, before)
    if failed is not None:
        guidance = f"It is forgotten here, and lives until {before.get('expires_at')}: revoke it with headrace tokens revoke."
        raise type(failed)(failed.code, f"The token was not revoked: {failed.message}", guidance)
    session.answer(
        {"server": server.url, "logged_out": True}, lambda _: show.line(f"Logged out of {server.url}.")
    )


def whoami(session: Session) -> None:
    """Who one is at the server, and what one may."""
    session.answer(session.api.get("auth/me"), _show_me)


@contextmanager
def entered(
    session: Session, email: str | None, password_stdin: bool
) -> Iterator[tuple[Server, str, Client]]:
    """A session of one's own at the server, for as long as it takes: the server, the address, a client.

    Denied ``wrong_login``; Invalid ``no_email``, ``no_password`` where nobody can be asked.
    """
    # Late: a refusal to ask needs no HTTP.
    from headrace.cli.client import Client

    server = where(session)
    address = email or _asked_email(server)
    secret = password(f"Password of {address}: ", password_stdin)
    _warn_of_clear_text(server.url)
    outside = Client(server)
    try:
        access = outside.post("auth/login", {"email": address, "password": secret})
    finally:
        outside.close()
    inside = Client(replace(server, token=access["access_token"]))
    try:
        yield server, str(access["user"]["email"]), inside
        inside.post("auth/logout")
    finally:
        inside.close()


def where(session: Session) -> Server:
    """The server that is meant, without a token. Invalid ``bad_server``."""
    if session.server:
        require_url(session.server)
        return Server(session.server.rstrip("/"), "")
    found = locate(None, session.data, os.environ)
    return Server(found.url, "", found.data)


def password(prompt: str, from_stdin: bool, *, variable: str | None = "HEADRACE_PASSWORD") -> str:
    """A password: a line of standard input, the variable's, or asked for on a terminal. Invalid ``no_password``."""
    given = sys.stdin.readline().rstrip("\r\n") if from_stdin else os.environ.get(variable or "", "")
    if not given and not from_stdin and sys.stdin.isatty():
        from getpass import getpass

        given = getpass(prompt)
    if given:
        return given
    also = f" or {variable}" if variable else ""
    raise Invalid("no_password", "A password is wanted", f"Give it with --password-stdin{also}.")


def _asked_email(server: Server) -> str:
    before = kept.login(server.url)
    if before is not None and before.get("email"):
        return str(before["email"])
    if sys.stdin.isatty():
        print("E-mail: ", end="", file=sys.stderr, flush=True)
        if given := sys.stdin.readline().strip():
            return given
    raise Invalid("no_email", "The address of an account is wanted", "Give it with --email.")


def _let_go(server: Server, said: kept.JSON) -> HeadraceError | None:
    """Revoke a token by itself; the error where that could not be done."""
    from headrace.cli.client import Client

    api = Client(replace(server, token=str(said["token"])))
    try:
        api.delete(f"tokens/{path_part(str(said['id']))}")
    except (NotFound, Denied):
        # It is over already.
        return None
    except HeadraceError as error:
        return error
    finally:
        api.close()
    return None


def _warn_of_clear_text(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "http" and not _loopback(parts.hostname or ""):
        show.note(f"Warning: the password travels to {parts.netloc} unencrypted; use https.")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _show_me(me: dict[str, Any]) -> None:
    show.line(f"{me['name']}: {me['role']} ({me['kind'].replace('_', ' ')})")
    show.line(f"May: {', '.join(me['permissions'])}")
