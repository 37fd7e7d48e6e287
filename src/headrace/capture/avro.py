"""Avro's binary form, read within bounds: whatever the bytes and the schema say, it ends soon and takes little.

fastavro is not asked to: a message of eleven bytes takes all memory (an array of 2**40 nulls), and a schema that holds
itself overflows the stack of the process.
"""

from __future__ import annotations

import json
import math
import struct
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

# Deeper is not shown by JSON's writers either.
DEPTH = 64
_TEXT = 1024 * 1024
_DECIMAL_BYTES = 256
_DECIMAL_SCALE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Logical type -> digits of a second.
_DIGITS = {"millis": 3, "micros": 6, "nanos": 9}


class Unreadable(ValueError):
    """Why something is not shown decoded, in words."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema and the named types that it may speak of, by full name."""

    root: Any
    named: dict[str, Any]


@dataclass(slots=True)
class Budget:
    """How many values may still be read."""

    values: int

    def take(self) -> None:
        """One less; Unreadable when there are none left."""
        if self.values <= 0:
            raise Unreadable("there are too many values in it, or in this page: ask for fewer messages")
        self.values -= 1


def parse(text: str, named: dict[str, Any] | None = None) -> Schema:
    """A schema from its JSON. named: the types that it refers to, its own are added. Unreadable."""
    if len(text) > _TEXT:
        raise Unreadable("its schema is too large")
    known = {} if named is None else named
    try:
        return Schema(fastavro.parse_schema(json.loads(text), named_schemas=known), known)
    except (SchemaParseException, UnknownType, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"its schema cannot be used: {type(error).__name__}") from None
    except RecursionError:
        raise Unreadable("its schema is nested too deep") from None


def read(data: bytes, schema: Schema, budget: Budget) -> Any:
    """The value as JSON can carry it; Unreadable. Bytes are hexadecimal digits, times ISO 8601, decimals text."""
    reader = _Reader(data, schema.named, budget)
    try:
        found = reader.value(schema.root, 0)
    except (
        TypeError,
        KeyError,
        AttributeError,
    ) as error:  # not all of a schema was looked at when it was parsed
        raise Unreadable(f"its schema cannot be used: {type(error).__name__}") from None
    if reader.at != len(data):
        raise Unreadable(f"{len(data) - reader.at} bytes are left over: it was written by another schema")
    return found


class _Reader:
    def __init__(self, data: bytes, named: dict[str, Any], budget: Budget) -> None:
        self._data, self._named, self._budget = data, named, budget
        self.at = 0

    def value(self, schema: Any, depth: int) -> Any:
        self._budget.take()
        if depth > DEPTH:
            raise Unreadable(f"it is nested deeper than {DEPTH}")
        if isinstance(schema, list):
            return self.value(schema[self._index(len(schema), "union")], depth + 1)
        if isinstance(schema, str):
            named = self._named.get(schema)
            return self._plain(schema) if named is None else self.value(named, depth + 1)
        kind = schema["type"]
        if not isinstance(kind, str) or kind in self._named:
            return self.value(kind, depth + 1)
        match kind:
            case "record" | "error":
                return {field["name"]: self.value(field["type"], depth + 1) for field in schema["fields"]}
            case "array":
                return self._array(schema["items"], depth)
            case "map":
                return self._map(schema["values"], depth)
            case "enum":
                return schema["symbols"][self._index(len(schema["symbols"]), "enum")]
            case "fixed":
                return _logical(schema, self._taken(schema["size"]))
        return _logical(schema, self._plain(kind, raw=True))

    def _plain(self, kind: str, raw: bool = False) -> Any:
        match kind:
            case "null":
                return None
            case "boolean":
                return self._taken(1) != b"\0"
            case "int" | "long":
                return self._long()
            case "float":
                return _number(struct.unpack("<f", self._taken(4))[0])
            case "double":
                return _number(struct.unpack("<d", self._taken(8))[0])
            case "bytes":
                found = self._taken(self._long())
                return found if raw else found.hex()
            case "string":
                return self._string()
        raise Unreadable("its schema names a type that is not there")

    def _array(self, items: Any, depth: int) -> list[Any]:
        found: list[Any] = []
        while count := self._block():
            for _ in range(count):
                found.append(self.value(items, depth + 1))
        return found

    def _map(self, values: Any, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while count := self._block():
            for _ in range(count):
                key = self._string()
                found[key] = self.value(values, depth + 1)
        return found

    def _block(self) -> int:
        self._budget.take()
        count = self._long()
        if count < 0:
            self._long()  # the block's bytes, for those who skip it
        return abs(count)

    def _index(self, length: int, what: str) -> int:
        index = self._long()
        if not 0 <= index < length:
            raise Unreadable(f"its {what} has no branch {index}")
        return index

    def _string(self) -> str:
        try:
            return self._taken(self._long()).decode("utf-8")
        except UnicodeDecodeError:
            raise Unreadable("a string in it is not UTF-8") from None

    def _long(self) -> int:
        found = 0
        for shift in range(0, 70, 7):
            byte = self._taken(1)[0]
            found |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return (found >> 1) ^ -(found & 1)
        raise Unreadable("a number in it has no end")

    def _taken(self, length: int) -> bytes:
        if not 0 <= length <= len(self._data) - self.at:
            raise Unreadable("it ends too early, or was written by another schema")
        self.at += length
        return self._data[self.at - length : self.at]


def _number(found: float) -> float | str:
    if math.isnan(found):
        return "NaN"
    return found if math.isfinite(found) else ("Infinity" if found > 0 else "-Infinity")


def _logical(schema: dict[str, Any], found: Any) -> Any:
    """By the schema's logical type; one that does not fit the value is passed over, as Avro wants it."""
    kind = str(schema.get("logicalType", ""))
    if isinstance(found, bytes):
        return _logical_bytes(schema, kind, found)
    if not isinstance(found, int) or isinstance(found, bool):
        return found
    try:
        if kind == "date":
            return (date(1970, 1, 1) + timedelta(days=found)).isoformat()
        what, _, unit = kind.rpartition("-")
        if what in ("time", "timestamp", "local-timestamp") and unit in _DIGITS:
            return _clock(what, found, _DIGITS[unit])
    except OverflowError:
        return found
    return found


def _clock(what: str, found: int, digits: int) -> Any:
    seconds, part = divmod(found, 10**digits)
    moment = _EPOCH + timedelta(seconds=seconds)
    if what == "time":
        in_day = moment.date() == _EPOCH.date()
        return f"{time.isoformat(moment.time())}.{part:0{digits}}" if in_day else found
    text = moment.replace(tzinfo=None).isoformat()
    return f"{text}.{part:0{digits}}{'Z' if what == 'timestamp' else ''}"


def _logical_bytes(schema: dict[str, Any], kind: str, found: bytes) -> Any:
    if kind == "decimal" and len(found) <= _DECIMAL_BYTES:
        scale = schema.get("scale", 0)
        if isinstance(scale, int) and 0 <= scale <= _DECIMAL_SCALE:
            return _decimal(int.from_bytes(found, "big", signed=True), scale)
    if kind == "uuid" and len(found) == 16:
        return str(uuid.UUID(bytes=found))
    if kind == "duration" and len(found) == 12:
        return dict(zip(("months", "days", "milliseconds"), struct.unpack("<III", found), strict=True))
    return found.hex()


def _decimal(unscaled: int, scale: int) -> str:
    digits = str(abs(unscaled)).zfill(scale + 1)
    text = f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits
    return f"-{text}" if unscaled < 0 else text
