"""Commands about accounts and API tokens."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from headrace.cli import show
from headrace.cli.command import Session, group
from headrace.cli.locate import path_part
from headrace.cli.login import Email, PasswordStdin, entered, password
from headrace.errors import Invalid

Role = Literal["admin", "operator", "viewer", "user"]
User = Annotated[str, typer.Argument(help="Address or id of the account.")]
FullName = Annotated[str | None, typer.Option("--name", help="Full name.")]


def register(app: typer.Typer) -> None:
    """Add the groups."""
    group(
        app,
        "users",
        "Accounts; for admins.",
        list=list_users,
        add=add_user,
        change=change_user,
        disable=disable_user,
        enable=enable_user,
        delete=delete_user,
        unlock=unlock_user,
    )
    group(app, "tokens", "API tokens for programs.", list=list_tokens, add=add_token, revoke=revoke_token)


# --- accounts


def list_users(
    session: Session,
    q: Annotated[str | None, typer.Option("--search", help="Part of address or name.")] = None,
    role: Annotated[Role | None, typer.Option("--role", help="Only this role.")] = None,
) -> None:
    """Accounts."""
    session.answer(session.api.all("users", q=q, role=role), _show_users)


def add_user(
    session: Session,
    email: Annotated[str, typer.Argument(help="Address of the account.")],
    name: FullName = None,
    role: Annotated[Role, typer.Option("--role", help="What it may do.")] = "user",
    password_stdin: PasswordStdin = False,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Nobody can log in to it by password.")
    ] = False,
) -> None:
    """Make an account; its password is asked for twice on a terminal."""
    body: dict[str, Any] = {"email": email, "full_name": name or "", "role": role}
    if not no_password:
        body["password"] = _new_password(email, password_stdin)
    session.answer(session.api.post("users", body), lambda u: show.line(f"Made {u['email']}, {u['role']}."))


def change_user(
    session: Session,
    user: User,
    name: FullName = None,
    role: Annotated[Role | None, typer.Option("--role", help="What it may do.")] = None,
    active: Annotated[
        bool | None, typer.Option("--active/--inactive", help="Whether it may be used at all.")
    ] = None,
    new_password: Annotated[bool, typer.Option("--password", help="Ask for a new password.")] = False,
    password_stdin: PasswordStdin = False,
) -> None:
    """Change an account; its sessions end when role, activity or password change."""
    body: dict[str, Any] = {"full_name": name, "role": role, "is_active": active}
    if new_password or password_stdin:
        body["password"] = _new_password(user, password_stdin)
    given = {key: value for key, value in body.items() if value is not None}
    if not given:
        raise Invalid("nothing_to_change", "Nothing to change was named", "See headrace users change --help.")
    session.answer(session.api.put(f"users/{path_part(user)}", given), lambda u: _show_users([u]))


def disable_user(session: Session, user: User) -> None:
    """Nobody enters by the account: its sessions end, its API tokens rest."""
    _set_active(session, user, False, "is disabled.")


def enable_user(session: Session, user: User) -> None:
    """The account may be used again, its API tokens as well."""
    _set_active(session, user, True, "may be used again.")


def _set_active(session: Session, user: str, active: bool, said: str) -> None:
    changed = session.api.put(f"users/{path_part(user)}", {"is_active": active})
    session.answer(changed, lambda u: show.line(f"{u['email']} {said}"))


def delete_user(session: Session, user: User) -> None:
    """Take an account away, its sessions and tokens with it."""
    session.api.delete(f"users/{path_part(user)}")
    session.answer({"user": user, "deleted": True}, lambda f: show.line(f"{f['user']} is gone."))


def unlock_user(session: Session, user: User) -> None:
    """Let an account log in again that was locked after wrong passwords."""
    found = session.api.post(f"users/{path_part(user)}/unlock")
    session.answer(found, lambda u: show.line(f"{u['email']} may log in again."))


def _new_password(email: str, from_stdin: bool) -> str:
    given = password(f"New password of {email}: ", from_stdin, variable=None)
    if not from_stdin and sys.stdin.isatty() and password("Once more: ", False, variable=None) != given:
        raise Invalid("passwords_differ", "The two passwords differ", "Try again.")
    return given


def _show_users(found: list[dict[str, Any]]) -> None:
    rows = [
        (u["email"], u["full_name"], u["role"], _state(u), show.instant(u["last_login_at"])) for u in found
    ]
    show.table(("account", "name", "role", "state", "last login"), rows, ("state",))


def _state(user: dict[str, Any]) -> str:
    if not user["is_active"]:
        return "inactive"
    return "locked" if user["locked"] else "active"


# --- API tokens


def list_tokens(
    session: Session,
    user: Annotated[str | None, typer.Option("--user", help="Of this account; for admins.")] = None,
) -> None:
    """One's own API tokens, or another's for an admin."""
    session.answer(session.api.get("tokens", user=user)["items"], _show_tokens)


def add_token(
    session: Session,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="*, *:read, pipelines:*, pipelines:run, ...; *:read unless named."),
    ] = None,
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=3650, help="How long it lives; for ever without.")
    ] = None,
    email: Email = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Make an API token for one's own account and print it, this once. It takes the account's password."""
    body = {"name": name, "scopes": scope or ["*:read"], "expires_in_days": days}
    with entered(session, email, password_stdin) as (_server, _user, api):
        made = api.post("tokens", body)
    session.answer(made, lambda t: show.line(t["token"]))


def revoke_token(
    session: Session, token: Annotated[str, typer.Argument(help="Id of the token, or its name.")]
) -> None:
    """End an API token: one's own, anybody's (by id) for an admin."""
    named = [t["id"] for t in session.api.get("tokens")["items"] if t["name"] == token]
    if len(named) > 1:
        raise Invalid("ambiguous", f"{len(named)} tokens are called {token}", "Name one by its id.")
    id_ = named[0] if named else token
    session.api.delete(f"tokens/{path_part(id_)}")
    session.answer({"id": id_, "revoked": True}, lambda _: show.line(f"{token} is revoked."))


def _show_tokens(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            t["id"],
            t["name"],
            ", ".join(t["scopes"]),
            show.instant(t["expires_at"]),
            show.instant(t["last_used_at"]),
        )
        for t in found
    ]
    show.table(("id", "name", "scopes", "until", "last used"), rows)
