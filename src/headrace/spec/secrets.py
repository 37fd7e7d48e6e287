"""Secrets of connections: references to them, their resolution, and forms with and without them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from headrace.errors import Invalid
from headrace.secrecy import MASK
from headrace.spec.models import ConnectionSpec

SECRET_FIELDS = ("password",)
_TLS = ("disable", "prefer", "require", "verify-full")
# What may change while a password that nobody sent anew stays: the same server reads it, as safely as before.
_FREE = frozenset({*SECRET_FIELDS, "database", "default_schema", "tls", "ca", "cert", "key"})
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


def shown_references(given: Mapping[str, str]) -> dict[str, str]:
    """Those that stand in answers, in the place of a secret; of any other field the value itself is shown."""
    return {k: v for k, v in given.items() if k in SECRET_FIELDS and _REFERENCE.fullmatch(v)}


def require_references(given: Mapping[str, str]) -> None:
    """Invalid ``bad_reference`` for what is no reference, or stands for no field of a connection."""
    for name, text in given.items():
        if name not in ConnectionSpec.model_fields or not _REFERENCE.search(text):
            raise Invalid(
                "bad_reference",
                f"references: {name} is no field of a connection with a reference to where its value comes from",
                'Such as {"password": "${env:SHOP_PASSWORD}"}.',
                {"field": name},
            )


def require_same_place(old: ConnectionSpec, new: ConnectionSpec) -> None:
    """Invalid ``secret_needed`` where a password that stays would go elsewhere, or over a weaker line.

    Who may change a connection may not read its password, and would by having it sent to a server of their own.
    """
    moved = [
        name
        for name in type(old).model_fields
        if name not in _FREE and getattr(old, name) != getattr(new, name)
    ]
    if _TLS.index(new.tls) < _TLS.index(old.tls):
        moved.append("tls")
    if old.ca != new.ca and (old.ca is not None or old.tls == "verify-full"):
        moved.append("ca")
    # Drivers take it for a piece of a URL, in which another host may stand.
    if old.database != new.database and "?" in new.database:
        moved.append("database")
    if moved and old.password.get_secret_value():
        raise secret_needed(moved, ["password"])


def secret_needed(moved: Sequence[str], secrets: Sequence[str]) -> Invalid:
    """The error for secrets that were not sent anew while what they are used with changes. Both: names of settings."""
    kept = ", ".join(secrets)
    return Invalid(
        "secret_needed",
        f"{kept}: a stored secret does not stay while {', '.join(moved)} changes",
        f"Send {kept} with it, not as a mask or a reference of an answer.",
        {"changed": list(moved), "secrets": list(secrets)},
    )


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
    resolved |= {name: SecretStr(resolved[name]) for name in SECRET_FIELDS if name in resolved}
    own = {field.alias or name: name for name, field in ConnectionSpec.model_fields.items()}
    return connection.model_copy(update={own[name]: value for name, value in resolved.items()})


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
