"""Masks: the same function as SQL, for load and comparison, and in Python, for the stream.

The text that ``sha256`` hashes is what the type's output function gives under ``connection.FIXED``, in
UTF-8: ``t`` for a true boolean, ``char(n)`` with its blanks, ``inet`` without the mask of a host; not what
a cast to text gives. ``sha256`` and ``redact`` give text whatever the column was, so the target column has to
be able to hold it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from headrace.engines.model import Column
from headrace.errors import Invalid

MASKS = ("sha256", "redact", "null")
REDACTED = "***"


def mask_expression(column_sql: str, mask: str | None, column: Column) -> str:
    """SQL that gives the masked value of ``column_sql`` (a quoted reference or any expression).

    NULL stays NULL. None as mask gives ``column_sql`` back. Raises Invalid for an unknown mask.
    """
    match mask:
        case None:
            return column_sql
        case "sha256":
            # concat() calls the output function, as COPY and logical decoding do; a cast to text does not.
            hashed = f"encode(sha256(convert_to(concat({column_sql}), 'UTF8')), 'hex')"
            return _unless_null(column_sql, hashed)
        case "redact":
            return _unless_null(column_sql, f"'{REDACTED}'::text")
        case "null":
            return f"NULL::{column.type}"
        case _:
            raise _unknown(mask)


def _unless_null(column_sql: str, masked: str) -> str:
    # IS NULL is also true of a composite value whose fields are all null; this is not.
    return f"CASE WHEN {column_sql} IS DISTINCT FROM NULL THEN {masked} END"


def mask_function(mask: str | None) -> Callable[[str | None], str | None]:
    """The twin of ``mask_expression`` for a value as output text. Raises Invalid for an unknown mask."""
    match mask:
        case None:
            return lambda value: value
        case "sha256":
            return lambda value: None if value is None else hashlib.sha256(value.encode()).hexdigest()
        case "redact":
            return lambda value: None if value is None else REDACTED
        case "null":
            return lambda value: None
        case _:
            raise _unknown(mask)


def _unknown(mask: str) -> Invalid:
    return Invalid(
        "unknown_mask", f"Unknown mask {mask!r}.", f"Use one of {', '.join(MASKS)}.", {"mask": mask}
    )
