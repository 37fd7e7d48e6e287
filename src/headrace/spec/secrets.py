"""Secrets of connections: references to them, their resolution, and forms with and without them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from headrace.errors import Invalid
from headrace.secrecy import MASK
from headrace.spec.models import ConnectionSpec

SECRET_FIELDS = ("password",)
_REFERENCE = re.compile(r"\$\{(env|file):([^}]+)\}")


def plain(connection: ConnectionSpec) -> dict[str, Any]:
    """JSON-able form with the secrets in clear: for encryption and for the local API only."""
    data = connection.model_dump(mode="json", exclude_none=True, by_alias=True)
    return {**data, **{name: getattr(connection, name).get_secret_value() for name in SECRET_FIELDS}}


def masked(connection: ConnectionSpec, references: Mapping[str, str] | None = None) -> dict[str, Any]:
    """JSON-able form for display: references where there are some, else a mask over every secret."""
    data = plain(connection)
    hidden = {name: MASK for name in SECRET_FIELDS if data[name]}
    return {**data, **hidden, **(references or {})}


def references(connection: ConnectionSpec) -> dict[str, str]:
    """Field -> text for every field that refers to an environment variable or a file."""
    data = plain(connection)
    return {k: v for k, v in data.items() if isinstance(v, str) and _REFERENCE.search(v)}


def resolve_secrets(connection: ConnectionSpec, env: Mapping[str, str]) -> ConnectionSpec:
    """The connection with every ``${env:X}`` and ``${file:/p}`` replaced by what it refers to.

    A file's last newline is dropped. Raises Invalid ``secret_not_found`` naming what is missing.
    """
    found = references(connection)
    if not found:
        return connection
    resolved: dict[str, Any] = {k: _REFERENCE.sub(lambda m: _look_up(m, env), v) for k, v in found.items()}
    return changed(connection, resolved)


def changed(connection: ConnectionSpec, values: Mapping[str, Any]) -> ConnectionSpec:
    """The connection with other values, by the names they have outside."""
    own = {field.alias or name: name for name, field in ConnectionSpec.model_fields.items()}
    hidden = {name: SecretStr(values[name]) for name in SECRET_FIELDS if name in values}
    given = {**values, **hidden}
    return connection.model_copy(update={own[name]: value for name, value in given.items()})


def _look_up(match: re.Match[str], env: Mapping[str, str]) -> str:
    kind, where = match.groups()
    if kind == "env":
        if where not in env:
            raise _missing(match[0], f"the environment variable {where} is not set")
        return env[where]
    try:
        return Path(where).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _missing(match[0], f"{where}: {getattr(error, 'strerror', None) or 'not text'}") from None


def _missing(reference: str, why: str) -> Invalid:
    return Invalid(
        "secret_not_found",
        f"{reference}: {why}",
        "Set the variable or write the file where `headrace` runs, or put the value into the spec.",
        {"reference": reference},
    )
