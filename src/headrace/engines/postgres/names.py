"""Names and literals as SQL text, and the 63 bytes a name may have.

Everything is quoted always: a name is data, whatever is written in it.
"""

from __future__ import annotations

import hashlib

from headrace.engines.model import TableName

NAME_BYTES = 63


def quoted(name: str) -> str:
    """The identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def qualified(name: TableName) -> str:
    """Schema and name, each quoted."""
    return f"{quoted(name.schema)}.{quoted(name.name)}"


def listed(names: tuple[str, ...] | list[str]) -> str:
    """Quoted names with commas between."""
    return ", ".join(quoted(n) for n in names)


def literal(text: str) -> str:
    """A string constant; relies on ``standard_conforming_strings=on``, which our connections fix."""
    return "'" + text.replace("'", "''") + "'"


def suffixed(name: str, suffix: str) -> str:
    """``name`` + ``suffix`` within 63 bytes; a name that has to be cut gets a hash, so that it stays unique."""
    whole = name + suffix
    if len(whole.encode()) <= NAME_BYTES:
        return whole
    tail = "_" + hashlib.sha256(name.encode()).hexdigest()[:8] + suffix
    room = NAME_BYTES - len(tail.encode())
    if room < 0:
        raise ValueError(f"suffix {suffix!r} leaves no room for a name")
    return name.encode()[:room].decode(errors="ignore") + tail
