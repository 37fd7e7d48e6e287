"""Tokens that ``headrace login`` keeps, one for each server, in a file that only their user can read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs

from headrace.errors import Invalid

JSON = Mapping[str, Any]


def tokens_file() -> Path:
    """Where they are."""
    return Path(platformdirs.user_config_dir("headrace")) / "tokens.json"


def token(url: str) -> str | None:
    """The token for a server."""
    found = login(url)
    return str(found["token"]) if found else None


def login(url: str) -> JSON | None:
    """What is kept for a server: ``token``, its ``id``, ``email``, ``expires_at``."""
    return _all().get(_canonical(url))


def keep(url: str, said: JSON) -> None:
    """Keep it, in the place of an earlier one."""
    _write({**_all(), _canonical(url): dict(said)})


def forget(url: str) -> None:
    """Keep nothing for a server any longer."""
    _write({known: said for known, said in _all().items() if known != _canonical(url)})


def _canonical(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _all() -> dict[str, JSON]:
    try:
        found = json.loads(tokens_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    logins = found if isinstance(found, dict) else {}
    return {url: said for url, said in logins.items() if isinstance(said, dict) and "token" in said}


def _write(logins: Mapping[str, JSON]) -> None:
    path = tokens_file()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(logins, file, indent=1)
        draft.replace(path)
    except OSError as error:
        raise Invalid(
            "unwritable",
            f"{path}: {error.strerror}",
            "Make the folder writable, or use HEADRACE_TOKEN instead.",
        ) from None
