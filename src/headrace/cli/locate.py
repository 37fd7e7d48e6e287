"""Which server to talk to, and with which token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import platformdirs

from headrace.cli import kept
from headrace.errors import Denied, Invalid, Unavailable
from headrace.settings import from_environment


@dataclass(frozen=True, slots=True)
class Server:
    """A server's base URL and the token for it (empty: none known). data: its folder when it is local."""

    url: str
    token: str = field(repr=False)
    data: Path | None = None


def locate(server: str | None, data: Path | None, env: Mapping[str, str]) -> Server:
    """The server asked for, else the local one of ``data``, else the one this user runs.

    Raises Unavailable ``no_server`` when none is known, Denied when its token cannot be read, Invalid ``bad_server``.
    """
    if server:
        require_url(server)
        return _remote(server.rstrip("/"), env)
    chosen = data or (Path(env["HEADRACE_DATA"]) if env.get("HEADRACE_DATA") else None)
    if chosen is None and (current := _read(current_file())):
        return _local(current, env)
    folder = from_environment(env, chosen).data
    found = _read(record_file(folder)) or _of_folder(folder)
    if not found:
        raise no_server(f"No Headrace server runs on {folder}")
    return _local(found, env)


def folder_of(data: Path | None, env: Mapping[str, str]) -> Path:
    """The folder asked for, else that of the installation this user runs, else the usual one."""
    current = _read(current_file()) if data is None and not env.get("HEADRACE_DATA") else None
    return from_environment(env, Path(current["data"]) if current else data).data


def current_file() -> Path:
    """Where ``up`` records this user's installation."""
    return Path(platformdirs.user_state_dir("headrace")) / "current.json"


def record_file(data: Path) -> Path:
    """Where a server records its address for its folder."""
    return data / "server.json"


def path_part(text: str) -> str:
    """A text as one part of a URL's path."""
    return quote(text, safe="")


def no_server(message: str) -> Unavailable:
    """The error for a server that is not there."""
    return Unavailable("no_server", message, "Start one: headrace up (or name another with --server URL).")


def require_url(text: str) -> None:
    """Invalid ``bad_server`` for what is not the address of a server."""
    try:
        parts = urlsplit(text)
        # Reading the port is what finds that it is none.
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or "?" in text or "#" in text:
        raise Invalid(
            "bad_server",
            f"{text} is not the address of a server",
            "Give it as http://HOST:PORT or https://HOST, in --server or HEADRACE_SERVER.",
        )


def _remote(url: str, env: Mapping[str, str]) -> Server:
    if token := env.get("HEADRACE_TOKEN") or kept.token(url):
        return Server(url, token)
    # The local server named by its own address needs no token to be typed.
    for record in (current_file(), record_file(from_environment(env).data)):
        if (found := _read(record)) and str(found["url"]).rstrip("/") == url:
            return _local(found, env)
    return Server(url, "")


def _local(found: Mapping[str, Any], env: Mapping[str, str]) -> Server:
    data = Path(found["data"])
    file = from_environment(env, data).token_file
    try:
        token = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise no_server(f"No Headrace server runs on {data}") from None
    except OSError as error:
        raise Denied(
            "token_unreadable",
            f"The token file {file} cannot be read: {error.strerror}",
            "Run as the user who started Headrace, or set HEADRACE_TOKEN and --server.",
        ) from None
    return Server(str(found["url"]).rstrip("/"), token, data)


def _of_folder(folder: Path) -> Mapping[str, Any] | None:
    current = _read(current_file())
    return current if current and Path(current["data"]) == folder else None


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"data", "url"} <= found.keys() else None
