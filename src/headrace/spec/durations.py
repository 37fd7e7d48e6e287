"""Lengths of time as users write them: ``0s``, ``500ms``, ``5m``, ``1h30m``."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_ACCEPTED = ["0s", "500ms", "30s", "5m", "1h30m", "1d"]


def parse_duration(text: str) -> float:
    """Seconds of a duration like ``1h30m``; ValueError when it is none."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(text)
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def format_duration(seconds: float) -> str:
    """The shortest spelling that parses back to the same number of seconds (exact to the millisecond)."""
    whole = round(seconds * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if whole % size == 0 and (whole or unit == "s"):
            return f"{whole // size}{unit}"
    return f"{whole}ms"


def _validated(value: Any) -> float:
    try:
        return parse_duration(value.strip())
    except (ValueError, AttributeError):
        raise PydanticCustomError(
            "duration", "Not a duration; write a number with its unit", {"accepted": _ACCEPTED}
        ) from None


Seconds = Annotated[
    float,
    BeforeValidator(_validated),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^{_WHOLE.pattern}$".replace(r"\d", "[0-9]"),
            "examples": _ACCEPTED[:1],
        }
    ),
]
